"""Which option takes the expert off chance, after how many windows, and at what price.

    python benchmarks/expert_ablation.py [out=DIR] [corpus=rendered] [windows=12000] [seed=0] [rows=NAME,NAME]
        [speakers=240] [clips=2] [clip_s=4]
    python benchmarks/expert_ablation.py corpus=real source=VIDEOS [drawn=0.5] [hold_out_s=20] [windows=...] [rows=...]

``corpus=rendered`` draws speakers and holds 15 % of them out; ``corpus=real`` teaches on the videos in ``source`` (with
``drawn=0.5`` that share of the windows is rendered) and holds the last 20 s of each out, of shorter ones the last
third; videos whose sound fits the lips at no shift are refused, as `anchor preprocess` does by itself. Every row is one
run of ``anchor train`` with one seed and as many windows as the others, scored by ``anchor evaluate`` on what was held
out. What is in the folder already is not made again, so rows can be added. It prints a table:

- loss: of the last validation, over its value by chance (ln 2 of pairs, ln 9 of one right speech among nine);
- off chance: windows seen when the pair accuracy of a validation first reached 0.6, and stayed;
- pairs: accuracy against speech of the same clip 5 to 15 frames away; 2 s: share of windows of two seconds whose offset
  is found within one frame;
- CPU s: processor seconds of the training command, imports and validations included.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

BATCH = 120
LONG = ["model.expert.window_frames=16"]
GROUP = ["model.expert.norm=group"]
AFFINE = ["model.expert.affine=true"]
NEIGHBOURS = ["datamodule.neighbours=true"]
PAIRS = ["datamodule.negatives_per_window=1"]
CLASSIC = ["module.loss=bce", "model.expert.positive=true", *PAIRS]
# Each row is the default (info_nce, 8 clips x 15 windows, 5 frames, batch norm, 128-d) with these words.
ROWS: dict[str, list[str]] = {
    "bce, the classic": CLASSIC,
    "bce, affine": ["module.loss=bce", *AFFINE, *PAIRS],
    "pairwise, affine": ["module.loss=pairwise", *AFFINE],
    "info_nce": [],
    "info_nce, no warm-up": ["module.warmup_steps=0"],
    "info_nce, temperature 0.1": ["module.temperature=0.1"],
    "info_nce, temperature 0.05": ["module.temperature=0.05"],
    "info_nce, neighbours": NEIGHBOURS,
    "info_nce, neighbours, near 3": [*NEIGHBOURS, "module.near_weight=3"],
    "info_nce, foreign 0.1": ["module.foreign_weight=0.1"],
    "info_nce, near 3": ["module.near_weight=3"],
    "info_nce, group norm": GROUP,
    "info_nce, 512-d": ["model.expert.embedding_size=512"],
    "info_nce, 2048-d": ["model.expert.embedding_size=2048"],
    "info_nce, batch 480": ["datamodule.batch_size=480"],
    "info_nce, batch 30": ["datamodule.batch_size=30"],
    "info_nce, width 32": ["model.expert.width=32"],
    "info_nce, 16 frames": LONG,
    "info_nce, 16 frames, 512-d": [*LONG, "model.expert.embedding_size=512"],
    "pairwise, affine, 16 frames": ["module.loss=pairwise", *AFFINE, *LONG],
    "bce, the classic, 16 frames": [*CLASSIC, *LONG],
}
DRAWN = {"speakers": "240", "clips": "2", "clip_s": "4"}
REAL = {"drawn": "0.5", "hold_out_s": "20"}
VALIDATIONS = 8
OFF_CHANCE = 0.6


def anchor(*words: str) -> float:
    """Run a command of anchor, its lines in ours; the processor seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    subprocess.run([sys.executable, "-m", "anchor", *words], check=True, env=environment, stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(folder: Path, options: dict[str, str]) -> list[str]:
    """The shards that a row learns from, the set that is scored first; made unless they are there."""
    drawn, real = folder / f"drawn{suffix(options, DRAWN)}", folder / f"real-{options['hold_out_s']}s"
    has_real = options["corpus"] == "real"
    wants_drawn = not has_real or float(options["drawn"]) > 0
    if wants_drawn and not (drawn / "manifest.json").is_file():
        people = f"{drawn}-people"
        anchor("synth", f"out={people}", f"speakers={options['speakers']}", f"clips={options['clips']}",
               f"seconds={options['clip_s']}", "size=160", "seed=7")  # fmt: skip
        anchor("preprocess", f"source={people}", f"out={drawn}", "image_size=96", "val_share=0.15")
    if has_real and not (real / "manifest.json").is_file():
        anchor("preprocess", f"source={options['source']}", f"out={real}", "image_size=96",
               f"hold_out_s={options['hold_out_s']}")  # fmt: skip
    return [str(path) for path, wanted in ((real, has_real), (drawn, wants_drawn)) if wanted]


def suffix(options: dict[str, str], usual: dict[str, str]) -> str:
    """What sets a folder apart from the one of the ``usual`` choices, in its name."""
    own = [options[key] for key in usual]
    return "" if own == list(usual.values()) else f"-{'x'.join(own)}"


def seconds_of(shards: str) -> float:
    """Of the training clips."""
    from anchor.shards import ShardSet
    from anchor.timing import FPS

    return sum(clip.num_frames for clip in ShardSet(shards).clips if clip.split == "train") / FPS


def run(name: str, folder: Path, sets: list[str], options: dict[str, str]) -> dict[str, Any]:
    """One row: trained and scored, or read again if it is there."""
    windows = int(options["windows"])
    words = ROWS[name]
    batch = next((int(word.split("=")[1]) for word in words if word.startswith("datamodule.batch_size=")), BATCH)
    place = folder / f"{options['corpus']}-{windows}-{slug(name)}{suffix(options, {**DRAWN, **REAL, 'seed': '0'})}"
    kept = place / "row.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    steps = max(1, windows // batch)
    repeat = []
    if len(sets) > 1:
        share = float(options["drawn"])
        times = max(1, round((1 - share) / share * seconds_of(sets[1]) / seconds_of(sets[0])))
        repeat = [f"datamodule.repeat=[{times},1]"]
    spent = anchor(
        "train", "experiment=syncnet", "model=tiny", "datamodule=shards", f"datamodule.path=[{','.join(sets)}]",
        *repeat, f"datamodule.batch_size={batch}", f"run_dir={place}", f"trainer.max_steps={steps}",
        f"trainer.val_check_interval={max(1, steps // VALIDATIONS)}", "accelerator=cpu", "accelerator.precision=auto",
        "datamodule.val_windows_per_clip=4", "datamodule.cache_mb=2048", "module.warmup_steps=20",
        "logger=none", "gates=off", "resume=none", f"seed={options['seed']}",
        *[word for word in words if not word.startswith("datamodule.batch_size=")],
    )  # fmt: skip
    anchor(
        "evaluate", "stage=syncnet", f"data={sets[0]}", f"checkpoint={place}/checkpoints/last.ckpt",
        f"out={place}/scores", "max_clips=72", "device=cpu",
    )  # fmt: skip
    lines = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    curve = [(line["step"] * batch, line) for line in lines if "val/pair_accuracy" in line]
    scores = json.loads((place / "scores" / "scores.json").read_text())["scores"]
    chance = math.log(2) if "bce" in name or "pairwise" in name else math.log(9)
    row = {
        "loss": curve[-1][1]["val/sync_loss"],
        "chance": chance,
        "off_chance": off_chance([(seen, line["val/pair_accuracy"]) for seen, line in curve]),
        "windows": steps * batch,
        "pairs": scores.get("expert/pair_accuracy"),
        "within_one": scores.get("expert/offset_within_one_2s"),
        "pieces": scores.get("expert/windows_2s"),
        "cpu_s": round(spent, 1),
        "curve": [(seen, line["val/pair_accuracy"], line["val/sync_loss"]) for seen, line in curve],
    }
    kept.write_text(json.dumps(row, indent=1) + "\n")
    return row


def off_chance(curve: list[tuple[int, float]]) -> int | None:
    """Windows seen when the accuracy first reached 0.6 without falling below again; None if it never did."""
    found = None
    for seen, accuracy in curve:
        if accuracy < OFF_CHANCE:
            found = None
        elif found is None:
            found = seen
    return found


def show(name: str, row: dict[str, Any]) -> str:
    """A line of the table."""
    found = "never" if row["off_chance"] is None else f"{row['off_chance']}"
    pieces = "" if row["within_one"] is None else f"{row['within_one']:.3f} of {row['pieces']:.0f}"
    pairs = "" if row["pairs"] is None else f"{row['pairs']:.3f}"
    loss = f"{row['loss']:.3f} / {row['chance']:.3f}"
    return f"| {name} | {loss} | {found} | {row['windows']} | {pairs} | {pieces} | {row['cpu_s']:.0f} |"


def main() -> None:
    """Prepare, train, print."""
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    options: dict[str, str] = {
        "out": "expert-ablation", "corpus": "rendered", "windows": "12000", **DRAWN, **REAL, "seed": "0",
        "rows": "", "source": "",
    }  # fmt: skip
    if strange := [key for key in given if key not in options]:
        sys.exit(f"{strange[0]}= is no key of this program. They are {', '.join(options)}.")
    options.update(given)
    wanted = options["rows"].split(",") if options["rows"] else [slug(name) for name in ROWS]
    names = [name for name in ROWS if slug(name) in wanted]
    if unknown := set(wanted) - {slug(name) for name in names}:
        sys.exit(f"rows={','.join(unknown)} names no row. Choose from {', '.join(slug(name) for name in ROWS)}.")
    folder = Path(options["out"])
    folder.mkdir(parents=True, exist_ok=True)
    sets = prepare(folder, options)
    load = f"{os.getloadavg()[0]:.1f}"
    done = {name: run(name, folder, sets, options) for name in names}
    print(f"machine: {platform.machine()}, {os.cpu_count()} cores, load {load} at the start, seed {options['seed']}\n")
    print("| option | loss / by chance | off chance | windows | pairs | 2 s | CPU s |\n|" + " --- |" * 7)
    for name, row in done.items():
        print(show(name, row))


def slug(name: str) -> str:
    """How ``rows=`` names a row."""
    return name.replace(", ", "-").replace(" ", "_")


if __name__ == "__main__":
    main()

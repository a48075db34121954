"""What each part of the GAN stage is worth on one real person in high definition.

    python benchmarks/quality_table.py VIDEO.mp4 EXPERT.ckpt [judge=ANOTHER_EXPERT.ckpt] [out=FOLDER] [model=hd192]
        [steps=120] [base_steps=500] [tune_steps=0] [others=SHARDS,SHARDS] [batch=4] [base_batch=4] [rows=NAME;NAME]

The last 10 s of the video are held out. A base generator is taught on the rest (and on ``others``, other people's
shards, of which the person makes up half the windows); from it, or with ``tune_steps`` from its fine-tune, the quality
stage starts once for each row, with the same data and seed. The controls train as long without any adversary. Then
`anchor evaluate` draws the held-out seconds with the averaged weights of all rows at once: its report shows them side
by side, and this prints its scores. ``judge`` is an expert that taught nobody here: the confidence is its word, beside
what it says of the real mouths; the referee needs no network. Gates are off: a poor base is a row like any other.
What is in the folder already is not made again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SIZE = "192"  # of the person's faces; a smaller model looks at them scaled down
SILENT = [
    "module.feature_weight=0", "module.r1_weight=0", "module.mouth_discriminator=null", "module.adversarial_weight=0",
]  # fmt: skip
LED = [  # by the frozen expert and by feature matching; with adversarial_weight=0.15 it is the person recipe's
    "module.feature_weight=10", "module.sync_weight=0.1", "module.shape_weight=0.1", "module.jitter_weight=0.06",
    "module.held_weight=0.1", "module.lr=3e-4",
]  # fmt: skip
VARIANTS: dict[str, list[str]] = {
    "control, no adversary": SILENT,
    "control, no adversary, pyramid": [*SILENT, "module.detail=pyramid", "module.detail_levels=3"],
    "hinge": SILENT[:3],
    "hinge, features": SILENT[1:3],
    "hinge, features, R1": SILENT[2:3],
    "defaults (hinge, features, R1, mouth)": [],
    "defaults, jitter_weight=0.02": ["module.jitter_weight=0.02"],
    "defaults, jitter_weight=0.05": ["module.jitter_weight=0.05"],
    "defaults, held_weight=0.5": ["module.held_weight=0.5"],
    "defaults, adversarial_weight=0.2, sync_weight=0.2": ["module.adversarial_weight=0.2", "module.sync_weight=0.2"],
    "defaults, jitter_weight=0.02, held_weight=0.5": ["module.jitter_weight=0.02", "module.held_weight=0.5"],
    "led by the expert and features": [*LED, "module.adversarial_weight=0.05"],
    "led, adversarial_weight=0.2": [*LED, "module.adversarial_weight=0.2"],
    "least squares, features, R1, mouth": ["module.adversarial=lsgan"],
}
SCORES = {
    "sharpness": "self/sharpness_ratio",
    "jitter": "self/jitter_ratio",
    "held / own": "self/held_share",
    "shape r": "self/shape_r",
    "mouth PSNR": "self/mouth_psnr",
    "mouth SSIM": "self/mouth_ssim",
    "confidence": "dub/confidence",
    "referee's margin": "self/referee_margin",
}
TRUTH = {"confidence": "real/confidence", "referee's margin": "real/referee_margin"}


def anchor(*words: str) -> None:
    """Run a command of anchor, its lines in ours."""
    done = subprocess.run([sys.executable, "-m", "anchor", *words], check=False)
    if done.returncode:
        sys.exit(f"anchor {' '.join(words)} ended with status {done.returncode}.")


def train(folder: Path, name: str, stage: str, steps: int, *words: str) -> Path:
    """The last checkpoint of a run that is made unless it is there."""
    run = folder / "".join(letter if letter.isalnum() else "-" for letter in name)
    last = run / "checkpoints" / "last.ckpt"
    if not (run / "result.json").is_file():
        anchor(
            "train", f"experiment={stage}", "gates=off", "datamodule=shards", f"run_dir={run}",
            f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps}", "accelerator=cpu",
            "accelerator.precision=auto", "logger=none", "callbacks=ema", *words,
        )  # fmt: skip
    return last


def prepare(video: str, folder: Path, others: list[str]) -> tuple[str, list[str]]:
    """``(the person's shards, the words that name everybody's)``."""
    person = folder / "shards"
    if not (person / "manifest.json").is_file():
        anchor("preprocess", f"source={video}", f"out={person}", f"image_size={SIZE}", "hold_out_s=10", "workers=1")
    if not others:
        return str(person), [f"datamodule.path={person}"]
    own, *theirs = (count_clips(path) for path in (str(person), *others))
    repeats = [max(1, round(sum(theirs) / own)), *(1 for _ in others)]
    return str(person), [f"datamodule.path=[{person},{','.join(others)}]", f"datamodule.repeat={repeats}"]


def count_clips(shards: str) -> int:
    """Of the training split."""
    return int(json.loads((Path(shards) / "manifest.json").read_text())["splits"]["train"]["clips"])


def show(rows: list[str], folder: Path, steps: int) -> None:
    """The table out of ``scores.json``."""
    record = json.loads((folder / "report" / "scores.json").read_text())
    ours = record["scores"]
    print(f"\nThe judge's pair accuracy on the held-out seconds: {ours.get('expert/pair_accuracy', float('nan')):.3f}")
    print(f"\n| {steps} steps | " + " | ".join(SCORES) + " |\n|" + " --- |" * (1 + len(SCORES)))
    truth = " | ".join(f"{ours.get(key, float('nan')):.3f}" for key in TRUTH.values())
    print(f"| real | 1 | 1 | | 1 | | 1 | {truth} |")
    for number, name in enumerate(rows):
        scores = ours if not number else record["compared"][f"row{number}"]["scores"]
        print(f"| {name} | " + " | ".join(f"{scores.get(key, float('nan')):.3f}" for key in SCORES.values()) + " |")


def main() -> None:
    """Prepare, train, score, print."""
    video, expert, *rest = sys.argv[1:]
    options = {
        "judge": expert, "out": "quality-table", "model": "hd192", "steps": "120", "base_steps": "500", "others": "",
        "batch": "4", "base_batch": "4", "tune_steps": "0",
        "rows": ";".join(VARIANTS),
    } | dict(word.split("=", 1) for word in rest)  # fmt: skip
    folder, steps = Path(options["out"]), int(options["steps"])
    names = options["rows"].split(";")
    if unknown := [name for name in names if name not in VARIANTS]:
        sys.exit(f"rows={unknown[0]} is unknown. Choose of {'; '.join(VARIANTS)}.")
    folder.mkdir(parents=True, exist_ok=True)
    person, everybody = prepare(video, folder, [path for path in options["others"].split(",") if path])
    judged = ["model=" + options["model"], f"module.expert={expert}"]
    base = train(
        folder, "base", "generator", int(options["base_steps"]), *judged, *everybody, "module.lr=1.5e-3",
        "module.sync_start_step=200", f"datamodule.batch_size={options['base_batch']}",
    )  # fmt: skip
    first = {"base": base}
    if int(options["tune_steps"]):
        first["tuned"] = train(
            folder, "tuned", "finetune", int(options["tune_steps"]), judged[1], f"datamodule.path={person}",
            f"module.base={base}", f"datamodule.batch_size={options['base_batch']}", "callbacks=default",
        )  # fmt: skip
    early = [
        *judged, f"module.base={list(first.values())[-1]}", f"datamodule.path={person}",
        f"datamodule.batch_size={options['batch']}",
        f"module.adversarial_start_step={steps // 8}", f"module.adversarial_ramp_steps={steps // 4}",
    ]  # fmt: skip
    rows = first | {name: train(folder, name, "quality", steps, *early, *VARIANTS[name]) for name in names}
    report = folder / "report"
    checked, *others = rows.values()
    compared = ",".join(f"row{number + 1}={path}" for number, path in enumerate(others))
    anchor(
        "evaluate", f"data={person}", "stage=quality", f"checkpoint={checked}", f"compare={compared}", f"out={report}",
        f"expert={options['judge']}", "protocol=self,cross", "films=0", "strips=1", "reader_steps=0", "device=cpu",
    )  # fmt: skip
    show(list(rows), folder, steps)


if __name__ == "__main__":
    main()

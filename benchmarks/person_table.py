"""What tuning to one person is worth: the base, its Identity Encoder tuned, everything tuned, and learnt from scratch.

    python benchmarks/person_table.py VIDEO.mp4 OTHERS [out=FOLDER] [material=12,25,49] [drawn=12,60,300]
        [speakers=30] [expert_steps=300] [base_steps=900] [steps=200] [seeds=0] [model=tiny] [long=true]
        [landmarks=auto]

VIDEO is one person, OTHERS a folder of other people's videos. The last 10 s of VIDEO, and of a drawn person's five
minutes, are held out: nothing learns from them, and everything is scored on them by ``anchor evaluate``. Expert and
base learn from drawn speakers and from OTHERS, never from the two persons. Each person is tuned on the first so many
seconds (``material``, ``drawn``; nothing leaves that person out). Rows that learn have the same number of steps, of
batches of six windows; "from scratch, long" has the base's steps and the most material, and comes last. What is in the
folder is not made again: the same command goes on, and prints the table.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DEFAULTS = {
    "out": "person-table", "material": "12,25,49", "drawn": "12,60,300", "speakers": "30", "expert_steps": "300",
    "base_steps": "900", "steps": "200", "seeds": "0", "model": "tiny",
    "landmarks": "auto", "long": "true",
}  # fmt: skip
COLUMNS: dict[str, Callable[[dict[str, float]], float]] = {
    "mouth PSNR, dB": lambda s: s["self/mouth_psnr"],
    "over copying, dB": lambda s: s["self/mouth_psnr"] - s["copy/mouth_psnr"],
    "error / copy's": lambda s: 10 ** ((s["copy/mouth_psnr"] - s["self/mouth_psnr"]) / 20),  # root mean square
    "jitter ratio": lambda s: s["self/jitter_ratio"],
    "mouth shape r": lambda s: s["self/shape_r"],
    "opening r": lambda s: s.get("self/opening_r", s.get("self/landmark_opening_r", float("nan"))),
    "referee's margin": lambda s: s["self/referee_margin"],
    "sharpness": lambda s: s["self/sharpness_ratio"],
    "held / own": lambda s: s.get("self/held_share", float("nan")),
    "moves in silence": lambda s: s["silence/motion_share"],
}


def main() -> None:
    """Prepare, train, score, print."""
    words = [word for word in sys.argv[1:] if "=" not in word]
    options = {**DEFAULTS, **dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)}
    unknown = sorted(options.keys() - DEFAULTS.keys())
    if len(words) != 2 or unknown:
        sys.exit(f"person_table: {', '.join(unknown) or 'VIDEO and OTHERS are needed'}.\n{__doc__}")
    print("sizes: " + "  ".join(f"{key}={value}" for key, value in options.items()))
    Table(Path(options["out"]), options).make(*words)


class Table:
    """The folder of all runs: each is made once."""

    def __init__(self, folder: Path, options: dict[str, str]) -> None:
        self.folder, self.options = folder, options
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, video: str, others: str) -> None:
        """Everything that is not there yet, then the table."""
        drawn, speakers = self.options["drawn"], self.options["speakers"]
        self.synth("people", f"speakers={speakers}", "clips=2", "seconds=4", "silence=0.2", "seed=7")
        self.shards("rendered", f"{self.folder}/people")
        self.shards("others", others, "hold_out_s=1")
        persons = {}
        if self.options["material"]:
            persons["real"] = (self.shards("real", video, "hold_out_s=10"), self.options["material"])
        if drawn:
            longest = max(map(float, drawn.split(",")))
            self.synth("film", "speakers=1", "clips=1", f"seconds={longest + 10:g}", "silence=0.2", "held_out=true")
            persons["drawn"] = (self.shards("drawn", f"{self.folder}/film", "hold_out_s=10"), drawn)
        general = f"datamodule.path=[{self.folder}/rendered,{self.folder}/others]"
        self.train("expert", "syncnet", "expert_steps", general)
        self.train("base", "generator", "base_steps", general, *self.judge(), *self.early())
        seeds = self.options["seeds"].split(",")
        for seed in seeds:
            for person, (shards, materials) in persons.items():
                for seconds in materials.split(","):
                    self.rows(person, shards, seconds, seed)
        for seed in seeds if self.options["long"] == "true" else []:
            for person, (shards, materials) in persons.items():
                self.long_row(person, shards, materials.split(",")[-1], seed)

    def rows(self, person: str, shards: str, seconds: str, seed: str) -> None:
        """The rows of one amount of material, with one seed."""
        data = [f"datamodule.path={shards}", f"datamodule.material_s={seconds}", f"seed={seed}"]
        name = f"{person}-{seconds}s-seed{seed}"
        base = f"module.base={self.checkpoint('base')}"
        self.train(f"{name}/identity", "finetune", "steps", *data, base, *self.judge())
        self.train(f"{name}/all", "finetune", "steps", *data, base, *self.judge(), "module.tune=all", "module.lr=5e-4")
        self.train(f"{name}/scratch", "generator", "steps", *data, *self.judge(), *self.early())
        rows = {"base": "base", "identity tuned": f"{name}/identity", "everything tuned": f"{name}/all"}
        rows["from scratch"] = f"{name}/scratch"
        self.show(f"{person} person, {seconds} s of material, seed {seed}", self.score(name, shards, rows))

    def long_row(self, person: str, shards: str, seconds: str, seed: str) -> None:
        """From scratch on the most material, in as many steps as the base had."""
        data = [f"datamodule.path={shards}", f"datamodule.material_s={seconds}", f"seed={seed}"]
        name = f"{person}-{seconds}s-seed{seed}"
        self.train(f"{name}/long", "generator", "base_steps", *data, *self.judge(), *self.early())
        scores = self.score(f"{name}-long", shards, {"from scratch, long": f"{name}/long"})
        self.show(f"{person} person, {seconds} s of material, seed {seed}, {self.options['base_steps']} steps", scores)

    @staticmethod
    def show(title: str, scores: dict[str, dict[str, float]]) -> None:
        """A table."""
        print(f"\n{title}, the last 10 s held out")
        print("| | " + " | ".join(COLUMNS) + " |\n|" + " --- |" * (1 + len(COLUMNS)))
        for row, one in scores.items():
            print(f"| {row} | " + " | ".join(f"{column(one):.3f}" for column in COLUMNS.values()) + " |", flush=True)

    def judge(self) -> list[str]:
        """The expert's say."""
        return [f"module.expert={self.checkpoint('expert')}"]

    def early(self) -> list[str]:
        """Of a generator that is to learn in some hundred steps."""
        return ["module.sync_start_step=150"]

    def checkpoint(self, run: str) -> Path:
        """What a run leaves."""
        return self.folder / "runs" / run / "checkpoints" / "last.ckpt"

    def synth(self, name: str, *words: str) -> None:
        """Drawn people."""
        self.once(
            self.folder / name / "done",
            "synth",
            f"out={self.folder}/{name}",
            "size=128",
            "language=en",
            "workers=1",
            *words,
        )

    def shards(self, name: str, source: str, *words: str) -> str:
        """A set of faces."""
        out = f"{self.folder}/{name}"
        target = self.folder / name / "manifest.json"
        self.once(target, "preprocess", f"source={source}", f"out={out}", "image_size=96", "workers=1", *words)
        return out

    def train(self, run: str, stage: str, steps: str, *words: str) -> None:
        """A stage on the CPU; one that was stopped goes on."""
        count = self.options[steps]
        self.once(
            self.folder / "runs" / run / "done", "train", f"experiment={stage}", "datamodule=shards", *words,
            *([] if stage == "finetune" else [f"model={self.options['model']}"]),
            *([] if stage == "syncnet" else ["datamodule.batch_size=6"]),
            f"run_dir={self.folder}/runs/{run}", f"trainer.max_steps={count}", f"trainer.val_check_interval={count}",
            "accelerator=cpu", "logger=none", "gates=off",
        )  # fmt: skip

    def score(self, name: str, shards: str, rows: dict[str, str]) -> dict[str, dict[str, float]]:
        """The scores of ``rows``, from runs, by ``anchor evaluate`` in one command."""
        out = self.folder / "scores" / name
        first, *others = rows
        compare = ",".join(f"{row.replace(' ', '_').replace(',', '')}={self.checkpoint(rows[row])}" for row in others)
        self.once(
            out / "scores.json", "evaluate", f"data={shards}", "stage=generator", f"out={out}", "protocol=self,silence",
            f"checkpoint={self.checkpoint(rows[first])}", *([f"compare={compare}"] if others else []),
            f"landmarks={self.options['landmarks']}", "films=0", "strips=1", "device=cpu",
        )  # fmt: skip
        record = json.loads((out / "scores.json").read_text())
        compared = [one["scores"] for one in record["compared"].values()]
        return dict(zip(rows, [record["scores"], *compared], strict=True))

    def once(self, mark: Path, *words: str) -> None:
        """Run a command of anchor, its lines in ours, unless what it leaves is there."""
        if mark.is_file():
            return
        print("$ anchor " + " ".join(words), flush=True)
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "anchor", *words], check=True)
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
        if mark.name == "done":
            mark.touch()


if __name__ == "__main__":
    main()

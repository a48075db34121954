"""What each part of the GAN stage is worth on one real person in high definition.

    python benchmarks/quality_table.py VIDEO.mp4 EXPERT.ckpt [out=FOLDER] [steps=200] [base_steps=500]

The last 10 s of the video are held out. A base generator is taught on the rest; from it the quality stage starts once
for each variant, with the same data and seed. Scores are of the averaged weights on the held-out windows, as
``anchor train`` validates. What is in the folder already is not made again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MODEL = "hd192"
SIZE = "192"
PLAIN = ["module.feature_weight=0", "module.r1_weight=0", "module.mouth_discriminator=null"]
VARIANTS: dict[str, list[str]] = {
    "no adversary, edges": [*PLAIN, "module.adversarial_weight=0"],
    "no adversary, edges of 3 scales": [*PLAIN, "module.adversarial_weight=0", "module.detail_levels=3"],
    "no adversary, pyramid": [*PLAIN, "module.adversarial_weight=0", "module.detail=pyramid", "module.detail_levels=3"],
    "hinge": PLAIN,
    "hinge, features": PLAIN[1:],
    "hinge, features, R1": PLAIN[2:],
    "hinge, features, R1, mouth": [],
    "least squares, features, R1, mouth": ["module.adversarial=lsgan"],
}
SCORES = ("sharpness_ratio", "jitter_ratio", "mouth_psnr", "sync_loss", "l1")


def anchor(*words: str) -> None:
    """Run a command of anchor, its lines in ours."""
    subprocess.run([sys.executable, "-m", "anchor", *words], check=True)


def train(folder: Path, name: str, stage: str, steps: int, *words: str) -> dict[str, float]:
    """The last validation's scores of a run that is made unless it is there."""
    run = folder / name.replace(", ", "-").replace(" ", "_")
    record = run / "metrics.jsonl"
    if not (run / "checkpoints" / "last.ckpt").is_file():
        anchor(
            "train", f"experiment={stage}", f"model={MODEL}", "datamodule=shards", f"datamodule.path={folder}/shards",
            "datamodule.batch_size=4", f"run_dir={run}", f"trainer.max_steps={steps}",
            f"trainer.val_check_interval={steps}", "trainer.precision=bf16-mixed", "accelerator=cpu", "logger=none",
            "callbacks=ema", *words,
        )  # fmt: skip
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    last = [line for line in lines if "val/l1" in line][-1]
    return {key: last.get(f"val/{key}", float("nan")) for key in SCORES}


def main() -> None:
    """Prepare, train, print."""
    video, expert, *rest = sys.argv[1:]
    options = {"out": "quality-table", "steps": "200", "base_steps": "500", **dict(word.split("=", 1) for word in rest)}
    folder = Path(options["out"])
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "shards").is_dir():
        anchor(
            "preprocess", f"source={video}", f"out={folder}/shards", f"image_size={SIZE}", "hold_out_s=10", "workers=1"
        )
    judge = f"module.expert={expert}"
    train(
        folder, "base", "generator", int(options["base_steps"]), judge, "module.lr=1.5e-3", "module.sync_start_step=200"
    )
    base = f"module.base={folder}/base/checkpoints/last.ckpt"
    early = ["module.adversarial_start_step=20", "module.adversarial_ramp_steps=40"]
    still = train(folder, "as it came", "quality", 1, base, judge, "module.lr=1e-9")
    rows = {"base": still}
    for name, words in VARIANTS.items():
        rows[name] = train(folder, name, "quality", int(options["steps"]), base, judge, *early, *words)
    print("\n| | " + " | ".join(SCORES) + " |\n|" + " --- |" * (1 + len(SCORES)))
    for name, scores in rows.items():
        print(f"| {name} | " + " | ".join(f"{scores[key]:.3f}" for key in SCORES) + " |")


if __name__ == "__main__":
    main()

"""Samples per second of two ranks against one: what a second core, or card, is worth.

    python benchmarks/scaling.py [models=tiny,wav2lip96] [pairs=5] [steps=40,8] [machine=cpu|mlu_sim|mlu|cuda] [apart=1]

Trains the generator with `anchor train` on one rank and on two, in interleaved pairs: the same batch per rank (so the
global batch doubles), one thread per rank, no loader processes, no expert, float32. The rate is taken from the run's
own record, between the end of its warm-up and its last step; the ratio of each pair and the median of all are printed.
Time before the first step is no part of it.

With ``apart=1`` each pair has a third rate: two runs of one rank each, at the same time, strangers to each other. What
they reach together is what the machine gives to two processes; the difference to two ranks is what ranks cost.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WARM_STEPS = {"tiny": 10, "wav2lip96": 2}
BATCH_PER_RANK = {"tiny": 8, "wav2lip96": 4}  # windows of five frames


def rate(model: str, machine: str, ranks: int, steps: int, runs: int = 1) -> float:
    """Windows per second that ``runs`` of ``anchor train`` at the same time reached together, each on so many ranks."""
    batch, warm = BATCH_PER_RANK.get(model, 4) * ranks, WARM_STEPS.get(model, 2)
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "experiment=generator", f"model={model}", f"accelerator={machine}", f"accelerator.devices={ranks}",
            "accelerator.precision=32-true", f"datamodule.batch_size={batch}", "datamodule.num_workers=0",
            "datamodule.speakers=8", "datamodule.val_speakers=1", "datamodule.seconds=2", "datamodule.augment=false",
            f"trainer.max_steps={warm + steps}", f"trainer.val_check_interval={warm + steps}", "logger=none",
            "trainer.limit_val_batches=1", "datamodule.val_windows_per_clip=2", "datamodule.val_batch_size=2",
            "callbacks.record.every_n_steps=1", "callbacks.last.every_n_train_steps=1000000",
        ]  # fmt: skip
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "anchor", "train", *words, f"run_dir={folder}/{number}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for number in range(runs)
        ]
        said = [process.communicate()[0] for process in started]
        for process, text in zip(started, said, strict=True):
            if process.returncode:
                sys.exit(f"anchor train {' '.join(words)}\n{text}")
        return sum(_rate_of(Path(folder) / str(number), batch, warm, steps) for number in range(runs))


def _rate_of(run: Path, batch: int, warm: int, steps: int) -> float:
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    seconds = {line["step"]: line["seconds"] for line in lines if "train/loss" in line}
    return batch * steps / (seconds[warm + steps] - seconds[warm])


def main(
    models: str = "tiny,wav2lip96", pairs: str = "5", steps: str = "40,8", machine: str = "cpu", apart: str = "0"
) -> None:
    """Print a line for each pair, then the medians."""
    print(f"python benchmarks/scaling.py models={models} pairs={pairs} steps={steps} machine={machine} apart={apart}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start", flush=True)
    for model, count in zip(models.split(","), steps.split(","), strict=True):
        ratios: dict[str, list[float]] = {"two ranks": [], **({"two runs": []} if apart == "1" else {})}
        for pair in range(int(pairs)):
            one = rate(model, machine, 1, int(count))
            line = f"{model:<10} pair {pair + 1}: one rank {one:7.2f} windows/s"
            for name, seen in ratios.items():
                both = (
                    rate(model, machine, 2, int(count))
                    if name == "two ranks"
                    else rate(model, machine, 1, int(count), 2)
                )
                seen.append(both / one)
                line += f"; {name} {both:7.2f}, ratio {both / one:.2f}"
            print(line, flush=True)
        for name, seen in ratios.items():
            print(
                f"{model:<10} {name}: median ratio {statistics.median(seen):.2f} ({min(seen):.2f} to {max(seen):.2f})"
            )


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))

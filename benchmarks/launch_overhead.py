"""Seconds that the launcher adds to the time to the first step.

    python benchmarks/launch_overhead.py [pairs=5]

In interleaved pairs: `anchor train ... accelerator=cpu`, and the same job's worker by hand in one process,
`python -m launch.worker RUN_DIR/config.yaml`, with the file that the first one composed. The clock runs from the start
of the process to the first line of the run's own record of consumed windows, which is written when the first step is
done. One rank, one thread, no loader processes; each run begins anew in a folder of its own, and is killed then.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = [
    "experiment=syncnet", "accelerator=cpu", "callbacks=keys", "trainer.max_steps=1000", "logger=none",
    "datamodule.num_workers=0", "datamodule.speakers=4", "datamodule.val_speakers=1",
]  # fmt: skip
GIVE_UP_S = 300.0


def first_step_s(command: list[str], run_dir: Path) -> float:
    """Seconds from the start of ``command`` until ``run_dir`` holds the record of a step."""
    record = run_dir / "keys" / "rank-0.jsonl"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment, start_new_session=True)
        try:
            while not (record.is_file() and record.stat().st_size):
                if process.poll() is not None or time.monotonic() - began > GIVE_UP_S:
                    said.seek(0)
                    sys.exit(f"{' '.join(command)}\n{said.read().decode()}")
                time.sleep(0.005)
            return time.monotonic() - began
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the ranks die with it
            process.wait()
            time.sleep(1.0)


def main(pairs: str = "5") -> None:
    """Print each pair, then the medians."""
    print(f"python benchmarks/launch_overhead.py pairs={pairs}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start", flush=True)
    launched, alone, added = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        composed = Path(folder) / "config.yaml"
        for pair in range(int(pairs)):
            command = [sys.executable, "-m", "anchor", "train", *WORDS, f"run_dir={run_dir}"]
            launched.append(first_step_s(command, run_dir))
            shutil.copy(run_dir / "config.yaml", composed)
            shutil.rmtree(run_dir)
            run_dir.mkdir()
            shutil.copy(composed, run_dir / "config.yaml")
            alone.append(first_step_s([sys.executable, "-m", "launch.worker", str(run_dir / "config.yaml")], run_dir))
            shutil.rmtree(run_dir)
            added.append(launched[-1] - alone[-1])
            print(f"pair {pair + 1}: launched {launched[-1]:.2f} s, by hand {alone[-1]:.2f} s, added {added[-1]:.2f} s")
            sys.stdout.flush()
    print(
        f"median: launched {statistics.median(launched):.2f} s, by hand {statistics.median(alone):.2f} s, "
        f"added {statistics.median(added):.2f} s ({min(added):.2f} to {max(added):.2f})"
    )


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))

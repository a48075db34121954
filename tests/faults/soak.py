"""Kill trainings and preprocessings at random moments until the time is over, and look for anything that was lost.

    make soak [SOAK_MINUTES=10] [SOAK_SEED=N]

A training on two ranks (a small expert, 60 steps) and a preprocessing (six drawn clips) are first made without
interference. Then the same are made again and again with faults: SIGKILL to a rank, to the command, to all; SIGTERM to
a rank or the command; SIGHUP to the command, as of a terminal that closes; SIGSTOP to a rank, which the watchdog has to
end, or with SIGCONT after a few seconds, which it has to let pass; a cut or a flipped byte in the newest checkpoint
while nothing runs; TMPDIR on another file system. After each fault the same command goes on, and at the
end the outcome has to be the same: windows, weights and optimizer to the last bit, or the bytes of the shards. What
differs, what cannot go on and what does not end is a loss. The status is 1 if there is any.

The seed is printed: the same one chooses the same faults, though not the same instants.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from small_ranks import assert_same, ranks, start

GIVE_UP_S = 240.0  # a start that neither ends nor moves is a loss
STEPS = 60
PAUSE_S = 0.2, 4.0  # of a rank that is suspended and woken, below watchdog.hang_s
GOES_ON = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, 129, 137, 143, 75, 124}  # statuses that a fault may cause
KINDS = (
    "kill rank 0", "kill rank 1", "kill all", "kill the command", "terminate rank 0", "terminate rank 1",
    "terminate the command", "hang up the command", "suspend rank 0", "suspend rank 1", "pause rank 0", "pause rank 1",
    "pause the command",
)  # fmt: skip

SIGNALS = {
    "kill": signal.SIGKILL, "terminate": signal.SIGTERM, "hang": signal.SIGHUP, "suspend": signal.SIGSTOP,
    "pause": signal.SIGSTOP,
}  # fmt: skip


class LostError(Exception):
    """Something is not as it was meant to be."""


class Soak:
    """Counts, and what is compared with."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.runs = {"training": 0, "preprocessing": 0}
        self.faults: dict[str, int] = {}
        self.losses = 0

    # Trainings.

    def train_whole(self) -> None:
        """The training that nobody touches."""
        (self.folder / "whole").mkdir()
        process = start(self.folder / "whole", "run_dir=run")
        said = process.communicate(timeout=GIVE_UP_S)
        if process.returncode:
            raise SystemExit(f"the training does not even work alone: {said}")

    def train(self) -> list[str]:
        """One training with faults; what they were."""
        place = self.folder / f"training-{self.runs['training']}"
        place.mkdir()
        run_dir, done = place / "run", list[str]()
        words = ["run_dir=run", "watchdog.hang_s=10", "watchdog.slow_s=60", f"datamodule.num_workers={self.pick(0, 1)}"]
        left = self.chance.randint(2, 6)
        while True:
            variables = {"TMPDIR": "/dev/shm"} if self.chance.random() < 0.3 and Path("/dev/shm").is_dir() else {}
            process = start(place, *words, **variables)
            if left:
                left -= 1
                done.append(self.break_off(process, run_dir))
            status, said = self.end(process)
            if status == 0:
                break
            if status not in GOES_ON or not done:
                raise LostError(f"status {status} after {done}: {said[-2000:]}")
            if left and self.chance.random() < 0.25:
                done.append(self.damage(run_dir / "checkpoints" / "last.ckpt"))
        try:
            assert_same(run_dir, self.folder / "whole" / "run")
        except AssertionError as error:
            raise LostError(f"after {done} the outcome is another: {error!r:.500}") from error
        shutil.rmtree(place)
        return done

    def break_off(self, process: subprocess.Popen[str], run_dir: Path) -> str:
        """Wait for a moment of chance, and do something bad."""
        kind = self.pick(*KINDS)
        if self.chance.random() < 0.2:
            self.wait(process, self.chance.uniform(0.0, 8.0))
            when = "in its start"
        else:
            step = self.wait_for_step(process, run_dir, self.chance.randint(0, 25))
            self.wait(process, self.chance.uniform(0.0, 0.6))
            when = f"after step {step}"
        found = ranks(process)
        if process.poll() is not None or ("rank" in kind and len(found) < 2):
            kind = "kill all"
        self.count(kind)
        number = SIGNALS[kind.split()[0]]
        pids = [process.pid]
        if "rank" in kind:
            pids = [found[int(kind[-1])]]
        elif "all" in kind:
            pids = [process.pid, *found]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if "pause" in kind:
            self.wait(process, self.chance.uniform(*PAUSE_S))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[0], signal.SIGCONT)
        return f"{kind} {when}"

    def damage(self, path: Path) -> str:
        """Cut the newest checkpoint, or flip a byte of it, while nothing runs."""
        if not (path.is_file() and path.with_name("last-previous.ckpt").is_file()):
            return "nothing to damage"
        data = bytearray(path.read_bytes())
        if self.chance.random() < 0.5:
            del data[self.chance.randrange(len(data)) :]
            kind = "cut last.ckpt"
        else:
            data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
            kind = "flip a bit of last.ckpt"
        path.write_bytes(data)
        self.count(kind)
        return kind

    # Preprocessings.

    def preprocess_whole(self) -> None:
        """The videos, and the shards that nobody touched."""
        words = [f"out={self.folder / 'videos'}", "speakers=6", "clips=1", "seconds=3"]
        command = [sys.executable, "-m", "anchor", "synth", *words]
        made = subprocess.run(command, capture_output=True, text=True, timeout=GIVE_UP_S)
        if made.returncode:
            raise SystemExit(f"anchor synth: {made.stderr}")
        status, said = self.end(self.preprocess_start(self.folder / "shards"))
        if status:
            raise SystemExit(f"the preprocessing does not even work alone: {said}")

    def preprocess_start(self, out: Path) -> subprocess.Popen[str]:
        """Its process."""
        words = [f"source={self.folder / 'videos'}", f"out={out}", "image_size=64", "workers=2", "duplicates=keep"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(self.folder / "home")}
        return subprocess.Popen(
            [sys.executable, "-m", "anchor", "preprocess", *words], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def preprocess(self) -> list[str]:
        """One preprocessing with faults; what they were."""
        place = self.folder / f"preprocessing-{self.runs['preprocessing']}"
        place.mkdir()
        done, left = list[str](), self.chance.randint(1, 4)
        began = self.whole_s
        while True:
            process = self.preprocess_start(place / "out")
            if left:
                left -= 1
                kind = self.pick("kill preprocess", "kill preprocess and its workers", "interrupt preprocess")
                self.wait(process, self.chance.uniform(0.3, 1.0) * began)
                done.append(kind)
                self.count(kind)
                with contextlib.suppress(ProcessLookupError):
                    if "workers" in kind:
                        os.killpg(process.pid, signal.SIGKILL)
                    else:
                        process.send_signal(signal.SIGKILL if "kill" in kind else signal.SIGINT)
            status, said = self.end(process)
            if status == 0:
                break
            if status not in (-signal.SIGKILL, 130) or not done:
                raise LostError(f"status {status} after {done}: {said[-2000:]}")
        if left_over := [path.name for path in place.iterdir() if path.name != "out"]:
            raise LostError(f"after {done} there is left over: {left_over}")
        whole, found = shards(self.folder / "shards"), shards(place / "out")
        if whole != found:
            raise LostError(f"after {done} the shards are others: {sorted(whole)}, {sorted(found)}")
        shutil.rmtree(place)
        return done

    # Both.

    def pick(self, *choices):
        """One of them."""
        return self.chance.choice(choices)

    def count(self, kind: str) -> None:
        """A fault more."""
        self.faults[kind] = self.faults.get(kind, 0) + 1

    def wait(self, process: subprocess.Popen[str], seconds: float) -> None:
        """So long, or until it has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and process.poll() is None:
            time.sleep(0.01)

    def wait_for_step(self, process: subprocess.Popen[str], run_dir: Path, more: int) -> int:
        """Until so many steps more than stand there are done; the last one that was seen."""
        path, until = run_dir / "keys" / "rank-0.jsonl", time.monotonic() + GIVE_UP_S / 2
        before = count_lines(path)
        while process.poll() is None and time.monotonic() < until:
            if count_lines(path) >= min(STEPS, before + more):
                break
            time.sleep(0.02)
        return count_lines(path)

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Its status and what it said; nothing of it is left then."""
        began = time.monotonic()
        try:
            _, said = process.communicate(timeout=GIVE_UP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise LostError(f"it did not end within {GIVE_UP_S:.0f} s") from None
        self.whole_s = time.monotonic() - began
        return process.returncode, said


def count_lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def shards(folder: Path) -> dict[str, bytes]:
    """Every file of a set that holds clips."""
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.suffix in (".tar", ".idx")}


def main(minutes: str = "10", seed: str = "") -> int:
    """Soak for so long; the run that is under way then is let to its end."""
    number = int(seed) if seed else random.SystemRandom().randrange(1_000_000)
    print(f"soak: seed={number}, {float(minutes):g} minutes, {os.cpu_count()} cores", flush=True)
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="anchor-soak-"))
    soak = Soak(folder, random.Random(number))
    soak.preprocess_whole()
    soak.train_whole()
    print(f"soak: the two that nobody touched took {time.monotonic() - began:.0f} s", flush=True)
    until = time.monotonic() + 60 * float(minutes)
    while time.monotonic() < until:
        kind = soak.pick("training", "training", "preprocessing")
        do = soak.train if kind == "training" else soak.preprocess
        since, before = time.monotonic(), sum(soak.faults.values())
        try:
            done = do()
        except LostError as loss:
            soak.losses += 1
            print(f"soak: LOSS in {kind} {soak.runs[kind]}: {loss}", flush=True)
            done = ["see above"]
        print(
            f"soak: {kind} {soak.runs[kind]}: {time.monotonic() - since:.0f} s, "
            f"{sum(soak.faults.values()) - before} faults ({', '.join(done)}), {soak.losses} losses",
            flush=True,
        )
        soak.runs[kind] += 1
    for kind, count in sorted(soak.faults.items()):
        print(f"soak: {count:4d} x {kind}")
    runs = " and ".join(f"{count} {kind}s" for kind, count in soak.runs.items())
    print(f"soak: seed={number}: {runs}, {sum(soak.faults.values())} faults, {soak.losses} losses", flush=True)
    if soak.losses:
        print(f"soak: what was lost stands in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(**dict(word.split("=", 1) for word in sys.argv[1:])))

"""`make demo`: the whole chain in about ten minutes on two cores, each step a command that can be repeated by hand.

Without a video it renders speakers with known truth, so that the report can say what was learnt. With one, the small
one-person model learns that person, beside a few rendered speakers who lend it more voices than one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anchor.arguments import parse_arguments
from anchor.errors import AnchorError, ConfigError

__all__ = ["demo", "main"]

SENTENCE = (
    "Good evening. I am a virtual anchor, and I was taught to speak on this machine a few minutes ago. "
    "My mouth moves with every word you hear. Now you may give me a voice, and a face, of your own."
)


class Chain:
    """Runs commands of `anchor` one after the other; what is finished is not repeated by the next start.

    A step's key is made of its command, of the files it was given, and of the key before it: whatever changes, all
    that hangs on it is made anew, in an empty folder; a step that was only stopped goes on where it was.
    """

    def __init__(self, out: Path, num_steps: int, inputs: Sequence[Path] = ()) -> None:
        self.out, self.num_steps, self.step = out, num_steps, 0
        self.started = time.monotonic()
        self.record = out / "steps.json"
        self.keys: dict[str, dict[str, Any]] = json.loads(self.record.read_text()) if self.record.is_file() else {}
        stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in inputs]
        self.key = hashlib.sha256(repr(stats).encode()).hexdigest()

    def run(self, title: str, leaves: Path, *words: str, folder: Path | None = None) -> None:
        """One command; ``leaves`` shows that it is done, ``folder`` is what a changed command must find empty.

        Raises:
            SystemExit: with the command's status, where it fails.
        """
        self.step += 1
        command = " ".join(words)
        self.key = hashlib.sha256(f"{self.key} {command}".encode()).hexdigest()
        print(
            f"\n[{self.step}/{self.num_steps}] {title}  ({self.seconds():.0f} s so far)\n$ anchor {command}", flush=True
        )
        before = self.keys.get(title, {})
        if before == {"key": self.key, "done": True} and leaves.exists():
            print("  done before", flush=True)
            return
        if folder is not None and before.get("key") != self.key:
            shutil.rmtree(folder, ignore_errors=True)
        self._remember(title, done=False)
        status = subprocess.run([sys.executable, "-m", "anchor", *words], check=False).returncode
        if status or not leaves.exists():
            print(
                f"\ndemo: stopped at {title!r} (status {status}). The same command goes on from here.", file=sys.stderr
            )
            sys.exit(status or 1)
        self._remember(title, done=True)

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def _remember(self, title: str, done: bool) -> None:
        self.keys[title] = {"key": self.key, "done": done}
        self.record.write_text(json.dumps(self.keys, indent=2) + "\n")


def demo(
    *, video: Path | None = None, speech: Path | None = None, out: Path | None = None, quick: bool = False
) -> None:
    """Run the chain and name the report and the talking video.

    ``video`` is a person's video (a minute is good), ``speech`` what that person shall say; without them everything
    is rendered. ``out`` is ``runs/demo``, or ``runs/demo-NAME`` for a video. ``quick`` shows within two minutes that
    every step runs, and learns next to nothing.
    """
    for name, path in (("VIDEO", video), ("SPEECH", speech)):
        if path is not None and not path.is_file():
            raise ConfigError(f"{name}={path}: no such file.")
    out = out or Path("runs") / ("demo" if video is None else f"demo-{video.stem}")
    out.mkdir(parents=True, exist_ok=True)
    given = [path for path in (video, speech) if path is not None]
    if speech is None:
        speech = out / "speech.wav"
        write_speech(speech, SENTENCE)
    if video is None:
        rendered_person(out, speech, given, quick)
    else:
        real_person(out, video, speech, given, quick)


def rendered_person(out: Path, speech: Path, given: Sequence[Path], quick: bool) -> None:
    """Many drawn speakers teach expert and generator; one more, never seen before, is tuned and speaks."""
    chain = Chain(out, 11, given)
    people, person = out / "people", out / "person"
    shards, person_shards = out / "shards", out / "person-shards"
    speakers = 12 if quick else 120
    _render(chain, f"render {speakers} speakers", people, f"speakers={speakers}", "clips=2", "size=160")
    _cut(chain, "cut their faces", people, shards, 96)
    _render(chain, "render one more person", person, "speakers=1", "clips=10", "size=256", "held_out=true", "seed=5")
    _cut(chain, "cut the person's face", person, person_shards, 96)
    stage = Stages(chain, out, quick, "tiny")
    expert = stage.run("syncnet", "teach the expert", 600, f"datamodule.path={shards}")
    judge = f"module.expert={expert}"
    base = stage.run("generator", "teach the generator", 2400, f"datamodule.path={shards}", judge)
    own = f"datamodule.path={person_shards}"
    tuned = stage.run("finetune", "tune to the person", 200, own, f"module.base={base}", judge)
    final = stage.run("quality", "sharpen", 300, own, f"module.base={tuned}", judge)
    words = [f"data={shards}", f"checkpoint={base}", f"expert={expert}", f"runs={stage.runs()}", f"out={out}"]
    chain.run("evaluate on speakers never seen", out / "report.html", "evaluate", "stage=generator", *words)
    report = out / "person-report"
    words = [f"data={person_shards}", f"checkpoint={final}", f"expert={expert}", f"out={report}"]
    chain.run("evaluate the person", report / "report.html", "evaluate", "stage=quality", *words)
    _speak(chain, out, min(person.rglob("*.mp4")), speech, final)


def real_person(out: Path, video: Path, speech: Path, given: Sequence[Path], quick: bool) -> None:
    """One person's video and a few rendered voices teach the small one-person model."""
    chain = Chain(out, 9, given)
    people, shards, person_shards = out / "people", out / "shards", out / "person-shards"
    _cut(chain, "cut the person's face", video, person_shards, 168)
    speakers = 6 if quick else 60
    _render(chain, f"render {speakers} speakers", people, f"speakers={speakers}", "clips=2", "size=192", "language=en")
    _cut(chain, "cut their faces", people, shards, 128)
    stage = Stages(chain, out, quick, "unet168")
    both = f"datamodule.path=[{shards},{person_shards}]"
    few, many = (f"datamodule.repeat=[1,{_repeats(shards, person_shards, share)}]" for share in (0.25, 0.8))
    expert = stage.run("syncnet", "teach the expert", 600, both, few)
    judge = f"module.expert={expert}"
    base = stage.run("generator", "teach the generator", 2200, both, many, judge, "module.sync_start_step=200")
    own = f"datamodule.path={person_shards}"
    tuned = stage.run("finetune", "tune to the person", 150, own, f"module.base={base}", judge)
    final = stage.run("quality", "sharpen", 400, own, f"module.base={tuned}", judge)
    words = [f"data={person_shards}", f"checkpoint={final}", f"expert={expert}", f"runs={stage.runs()}", f"out={out}"]
    chain.run("evaluate", out / "report.html", "evaluate", "stage=quality", *words)
    _speak(chain, out, video, speech, final)


class Stages:
    """The training steps of a chain: what they share stands here once."""

    def __init__(self, chain: Chain, out: Path, quick: bool, model: str) -> None:
        self.chain, self.out, self.quick, self.model = chain, out, quick, model
        self.names: list[str] = []

    def run(self, stage: str, title: str, steps: int, *words: str) -> Path:
        """Train one stage for ``steps`` batches (a hundredth if quick) and return the checkpoint it leaves."""
        self.names.append(stage)
        run_dir = self.out / stage
        last = run_dir / "checkpoints" / "last.ckpt"
        steps = max(4, steps // 100) if self.quick else steps
        machine = "cpu2" if len(os.sched_getaffinity(0)) > 1 else "cpu"
        fixed = [f"experiment={stage}", f"model={self.model}", f"run_dir={run_dir}", "datamodule=shards"]
        fixed += [f"accelerator={machine}", "accelerator.precision=auto", f"trainer.max_steps={steps}"]
        fixed += [f"trainer.val_check_interval={max(2, steps // 4)}"]
        if self.quick:
            fixed.append("gates=off")
        if stage != "syncnet":
            fixed.append("datamodule.batch_size=6")
        self.chain.run(title, last, "train", *fixed, *words, folder=run_dir)
        return last

    def runs(self) -> str:
        """The run folders, as `anchor evaluate runs=` takes them."""
        return ",".join(str(self.out / name) for name in self.names)


def _render(chain: Chain, title: str, people: Path, *words: str) -> None:
    chain.run(title, people, "synth", f"out={people}", "seconds=4", *words, folder=people)


def _cut(chain: Chain, title: str, source: Path, shards: Path, image_size: int) -> None:
    words = ["preprocess", f"source={source}", f"out={shards}", f"image_size={image_size}"]
    chain.run(title, shards / "manifest.json", *words, folder=shards)


def _repeats(shards: Path, person_shards: Path, share: float) -> int:
    """How often an epoch must show the person so that ``share`` of the windows are theirs."""
    from anchor.shards import ShardSet

    sets = [ShardSet(path) for path in (shards, person_shards)]
    others, own = (sum(clip.num_frames for clip in one.clips if clip.split == "train") for one in sets)
    return max(1, round(others / own * share / (1 - share)))


def _speak(chain: Chain, out: Path, face: Path, speech: Path, checkpoint: Path) -> None:
    film = out / "speaking.mp4"
    words = [f"face={face}", f"speech={speech}", f"checkpoint={checkpoint}", f"out={film}"]
    chain.run("speak", film, "infer", *words)
    print(f"\nThe chain took {chain.seconds():.0f} s.\n  {out / 'report.html'}\n  {film}", flush=True)


def write_speech(path: Path, text: str) -> None:
    """``text``, spoken by espeak-ng, as a WAV of 16 bits."""
    if path.is_file():
        return
    from anchor.speech.espeak import speak

    spoken = speak(text, "en-us")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(spoken.sample_rate)
        file.writeframes((np.clip(spoken.samples, -1, 1) * 32767).astype("<i2").tobytes())


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m launch.demo [video=FILE] [speech=FILE] [out=DIR] [quick=true]`."""
    try:
        demo(**parse_arguments(demo, sys.argv[1:] if arguments is None else arguments))
    except AnchorError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndemo: stopped by Ctrl-C; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make demo`: the whole chain in about ten minutes on two cores, each step a command that can be repeated by hand.

Without a video it renders speakers with known truth, so that the report can say what was learnt. With one, the small
one-person model learns that person, beside a few rendered speakers who lend it more voices than one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anchor.arguments import parse_arguments
from anchor.errors import AnchorError, ConfigError

__all__ = ["demo", "main"]

SENTENCE = (
    "Good evening. I am a virtual anchor, and I was taught to speak on this machine a few minutes ago. "
    "My mouth moves with every word you hear. Now you may give me a voice, and a face, of your own."
)


class Chain:
    """Runs commands of `anchor` one after the other; finished ones are not repeated by the next start."""

    def __init__(self, out: Path, num_steps: int) -> None:
        self.out, self.num_steps, self.step = out, num_steps, 0
        self.started = time.monotonic()
        self.record = out / "steps.json"
        self.done: dict[str, str] = json.loads(self.record.read_text()) if self.record.is_file() else {}

    def run(self, title: str, leaves: Path, *words: str) -> None:
        """One command; ``leaves`` is what it makes, and shows that it need not run again.

        Raises:
            SystemExit: with the command's status, where it fails.
        """
        self.step += 1
        command = " ".join(words)
        print(
            f"\n[{self.step}/{self.num_steps}] {title}  ({self.seconds():.0f} s so far)\n$ anchor {command}", flush=True
        )
        if self.done.get(title) == command and leaves.exists():
            print("  done before", flush=True)
            return
        self._forget_from(title)
        status = subprocess.run([sys.executable, "-m", "anchor", *words], check=False).returncode
        if status or not leaves.exists():
            print(
                f"\ndemo: stopped at {title!r} (status {status}). The same command goes on from here.", file=sys.stderr
            )
            sys.exit(status or 1)
        self.done[title] = command
        self.record.write_text(json.dumps(self.done, indent=2) + "\n")

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def _forget_from(self, title: str) -> None:
        """What a changed step feeds must run again: drop it and all that was done after it."""
        titles = list(self.done)
        if title in self.done:
            for later in titles[titles.index(title) :]:
                del self.done[later]


def demo(*, video: Path | None = None, speech: Path | None = None, out: Path | None = None) -> None:
    """Run the chain and name the report and the talking video.

    ``video`` is a person's video (a minute is good), ``speech`` what that person shall say; without them everything
    is rendered. ``out`` is ``runs/demo``, or ``runs/demo-NAME`` for a video.
    """
    for name, path in (("VIDEO", video), ("SPEECH", speech)):
        if path is not None and not path.is_file():
            raise ConfigError(f"{name}={path}: no such file.")
    out = out or Path("runs") / ("demo" if video is None else f"demo-{video.stem}")
    out.mkdir(parents=True, exist_ok=True)
    if speech is None:
        speech = out / "speech.wav"
        write_speech(speech, SENTENCE)
    if video is None:
        rendered_person(out, speech)
    else:
        real_person(out, video, speech)


def rendered_person(out: Path, speech: Path) -> None:
    """Many drawn speakers teach expert and generator; one more, never seen before, is tuned and speaks."""
    chain = Chain(out, 11)
    people, person = out / "people", out / "person"
    shards, person_shards = out / "shards", out / "person-shards"
    chain.run(
        "render 120 speakers", people, "synth", f"out={people}", "speakers=120", "clips=2", "size=160", "seconds=4"
    )
    chain.run(
        "cut their faces", shards / "manifest.json", "preprocess", f"source={people}", f"out={shards}", "image_size=96"
    )
    words = ["synth", f"out={person}", "speakers=1", "clips=10", "size=256", "seconds=4", "held_out=true", "seed=7"]
    chain.run("render one more person", person, *words)
    words = ["preprocess", f"source={person}", f"out={person_shards}", "image_size=96"]
    chain.run("cut the person's face", person_shards / "manifest.json", *words)
    data = ["datamodule=shards", f"datamodule.path={shards}"]
    person_data = ["datamodule=shards", f"datamodule.path={person_shards}"]
    expert = _train(chain, out, "syncnet", "teach the expert", *data, "trainer.max_steps=600")
    judge = f"module.expert={expert}"
    base = _train(chain, out, "generator", "teach the generator", *data, judge, "trainer.max_steps=2400")
    tuned = _train(
        chain,
        out,
        "finetune",
        "tune to the person",
        *person_data,
        f"module.base={base}",
        judge,
        "trainer.max_steps=200",
    )
    final = _train(
        chain, out, "quality", "sharpen", *person_data, f"module.base={tuned}", judge, "trainer.max_steps=200"
    )
    runs = ",".join(str(out / stage) for stage in ("syncnet", "generator", "finetune", "quality"))
    words = [
        "evaluate",
        "stage=generator",
        f"data={shards}",
        f"checkpoint={base}",
        f"expert={expert}",
        f"runs={runs}",
        f"out={out}",
    ]
    chain.run("evaluate on speakers never seen", out / "report.html", *words)
    words = [
        "evaluate",
        "stage=quality",
        f"data={person_shards}",
        f"checkpoint={final}",
        f"expert={expert}",
        f"out={out / 'person-report'}",
    ]
    chain.run("evaluate the person", out / "person-report" / "report.html", *words)
    _speak(chain, out, next(iter(sorted(person.rglob("*.mp4")))), speech, final)


def real_person(out: Path, video: Path, speech: Path) -> None:
    """One person's video and a few rendered voices teach the small one-person model."""
    chain = Chain(out, 10)
    people, shards, person_shards = out / "people", out / "shards", out / "person-shards"
    words = ["preprocess", f"source={video}", f"out={person_shards}", "image_size=168"]
    chain.run("cut the person's face", person_shards / "manifest.json", *words)
    chain.run(
        "render 60 speakers",
        people,
        "synth",
        f"out={people}",
        "speakers=60",
        "clips=2",
        "size=192",
        "seconds=4",
        "language=en",
    )
    words = ["preprocess", f"source={people}", f"out={shards}", "image_size=128"]
    chain.run("cut their faces", shards / "manifest.json", *words)
    both = ["datamodule=shards", f"datamodule.path=[{shards},{person_shards}]", "model=unet168"]
    person = ["datamodule=shards", f"datamodule.path={person_shards}", "model=unet168"]
    few, many = _repeats(shards, person_shards, 0.25), _repeats(shards, person_shards, 0.8)
    words = [*both, f"datamodule.repeat=[1,{few}]", "trainer.max_steps=600", "trainer.val_check_interval=200"]
    expert = _train(chain, out, "syncnet", "teach the expert", *words)
    judge = f"module.expert={expert}"
    words = [*both, f"datamodule.repeat=[1,{many}]", "trainer.max_steps=1800", "module.sync_start_step=200", judge]
    base = _train(chain, out, "generator", "teach the generator", *words)
    words = [*person, f"module.base={base}", "trainer.max_steps=150", "trainer.val_check_interval=50", judge]
    tuned = _train(chain, out, "finetune", "tune to the person", *words)
    words = [*person, f"module.base={tuned}", "trainer.max_steps=400", "trainer.val_check_interval=200", judge]
    final = _train(chain, out, "quality", "sharpen", *words)
    runs = ",".join(str(out / stage) for stage in ("syncnet", "generator", "finetune", "quality"))
    words = [
        "evaluate",
        "stage=quality",
        f"data={person_shards}",
        f"checkpoint={final}",
        f"expert={expert}",
        f"runs={runs}",
        f"out={out}",
    ]
    chain.run("evaluate", out / "report.html", *words)
    _speak(chain, out, video, speech, final)


def _repeats(shards: Path, person_shards: Path, share: float) -> int:
    """How often an epoch must show the person so that ``share`` of the windows are theirs."""
    from anchor.shards import ShardSet

    others, own = (
        sum(clip.num_frames for clip in ShardSet(path).clips if clip.split == "train")
        for path in (shards, person_shards)
    )
    return max(1, round(others / own * share / (1 - share)))


def _train(chain: Chain, out: Path, stage: str, title: str, *words: str) -> Path:
    """One stage; the path of the checkpoint it leaves."""
    last = out / stage / "checkpoints" / "last.ckpt"
    cores = len(os.sched_getaffinity(0))
    machine = [f"accelerator={'cpu2' if cores > 1 else 'cpu'}", "accelerator.precision=auto"]
    chain.run(title, last, "train", f"experiment={stage}", f"run_dir={out / stage}", *words, *machine)
    return last


def _speak(chain: Chain, out: Path, face: Path, speech: Path, checkpoint: Path) -> None:
    film = out / "speaking.mp4"
    chain.run("speak", film, "infer", f"face={face}", f"speech={speech}", f"checkpoint={checkpoint}", f"out={film}")
    print(f"\nThe chain took {chain.seconds():.0f} s.\n  {out / 'report.html'}\n  {film}", flush=True)


def write_speech(path: Path, text: str) -> None:
    """``text``, spoken by espeak-ng, as a WAV of 16 bits."""
    from anchor.speech.espeak import speak

    spoken = speak(text, "en-us")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(spoken.sample_rate)
        file.writeframes((np.clip(spoken.samples, -1, 1) * 32767).astype("<i2").tobytes())


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m launch.demo [video=FILE] [speech=FILE] [out=DIR]`."""
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

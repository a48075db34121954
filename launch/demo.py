"""`make demo`: the whole chain in about ten minutes on two cores, each step a command that can be repeated by hand.

Without a video it is the recipe ``demo``, which renders speakers with known truth, so that the report can say what was
learnt. With one it is the recipe ``person``: the small one-person model learns that person, beside a few rendered
speakers who lend it more voices than one.
"""

from __future__ import annotations

import signal
import sys
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anchor.arguments import parse_arguments
from anchor.errors import AnchorError, ConfigError
from anchor.signals import TerminatedError, catch_signals, is_output_closed
from launch.recipes.chain import StepError
from launch.recipes.command import run_recipe
from launch.recipes.recipe import load_recipe

__all__ = ["demo", "main"]

SENTENCE = (
    "Good evening. I am a virtual anchor, and I was taught to speak on this machine a few minutes ago. "
    "My mouth moves with every word you hear. Now you may give me a voice, and a face, of your own."
)


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
    if speech is None:
        out.mkdir(parents=True, exist_ok=True)
        speech = out / "speech.wav"
        write_speech(speech, SENTENCE)
    words = [f"out={out}", f"speech={speech}"]
    if video is not None:
        words.append(f"video={video}")
    if quick:  # nothing has learnt what a gate asks for
        words += ["effort=0.01", "gates=off", f"speakers={12 if video is None else 6}"]
    run_recipe(load_recipe("demo" if video is None else "person"), words)


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
    if arguments is None:
        catch_signals()
    try:
        demo(**parse_arguments(demo, sys.argv[1:] if arguments is None else arguments))
    except AnchorError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.status
    except StepError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt as stop:
        number = stop.number if isinstance(stop, TerminatedError) else signal.SIGINT
        if number != signal.SIGHUP or not is_output_closed():
            print(f"\ndemo: stopped by {'Ctrl-C' if number == signal.SIGINT else number.name} {stop}.", file=sys.stderr)
        return 128 + number
    return 0


if __name__ == "__main__":
    sys.exit(main())

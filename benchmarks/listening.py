"""How soon a microphone's listener hears that somebody speaks, and whom it misses: sentences laid into made-up sound.

    python benchmarks/listening.py [noises=white:-50,brown:-34] [echoes=-20,-10] [levels=-26,-20,-14] [seed=0]

noises: colour:dB of full scale. echoes: the anchor's own voice of -20 dB, so many dB lower, from a made-up room, over
white noise of -54 dB. Into each, eight sentences of espeak-ng at every level (RMS, dB of full scale): milliseconds
from the first sample above 0.02 to the beginning that is told, how many are missed within 1.5 s, how often something
began before anybody spoke.
"""

from __future__ import annotations

import sys

import numpy as np

from anchor.speech.activity import PIECE, VoiceActivity
from anchor.speech.espeak import speak
from anchor.studio.narration import resample
from anchor.timing import SAMPLE_RATE

OPTIONS = {"noises": "white:-50,brown:-34", "echoes": "-20,-10", "levels": "-26,-20,-14", "seed": "0"}
SENTENCES = [
    ("Stop it, please, and listen to me!", "en-gb-x-rp+f3"), ("What is the weather like tomorrow?", "en-us"),
    ("Good evening, how are you?", "en-us+f2"), ("And now something else.", "en-gb-scotland+m3"),
    ("今天天气很好，我们出去走走吧。", "cmn"), ("请等一下，我有一个问题。", "cmn+f2"),
    ("Tell me more about the second one.", "en-us+m5"), ("No, that is not what I meant.", "en-gb-x-rp"),
]  # fmt: skip
ANCHOR = "Good evening, and welcome. Here is the news of today, read by somebody who does not exist. "
BEGINS_S = 4.0  # where somebody speaks: noise and echo are known by then
PATIENCE_S = 1.5  # after which a sentence counts as missed
LOUD = 0.02  # of a sample: where a sentence begins for a listener


def amplitude(db: float) -> float:
    """Of full scale."""
    return float(10 ** (db / 20))


def said(text: str, voice: str, level_db: float) -> np.ndarray:
    """float32 (L,) of 16 kHz with that RMS."""
    speech = speak(text, voice)
    samples = resample(speech.samples, speech.sample_rate, SAMPLE_RATE)
    return (samples * amplitude(level_db) / np.sqrt((samples**2).mean())).astype(np.float32)


def noise(colour: str, level_db: float, length: int, random: np.random.Generator) -> np.ndarray:
    """White, or brown without its slowest part."""
    samples = random.normal(0, 1, length)
    if colour == "brown":
        samples = np.cumsum(samples)
        samples -= np.convolve(samples, np.ones(400) / 400, "same")
    return samples * amplitude(level_db) / np.sqrt((samples**2).mean())


def echo_of(played: np.ndarray, gain_db: float, random: np.random.Generator, delay_s: float = 0.18) -> np.ndarray:
    """What a room gives back of loudspeakers: late, and with a tail of 0.1 s."""
    tail = random.normal(0, 1, 2400) * np.exp(-np.arange(2400) / 500)
    room = np.concatenate([np.zeros(round(delay_s * SAMPLE_RATE)), [1.0], 0.3 * tail / np.sqrt((tail**2).sum())])
    return amplitude(gain_db) * np.convolve(played, room)[: len(played)]


def begun(samples: np.ndarray, played: np.ndarray | None) -> list[float]:
    """Seconds at which speech was told to begin."""
    detector, found = VoiceActivity(), []
    for place in range(0, len(samples) - PIECE + 1, PIECE):
        if played is not None:
            detector.play(played[place : place + PIECE].astype(np.float32))
        if detector.add(samples[place : place + PIECE].astype(np.float32)) == "begins":
            found.append((place + PIECE) / SAMPLE_RATE)
    return found


def measure(background: np.ndarray, levels: list[float], played: np.ndarray | None = None) -> str:
    """One line of figures over every sentence at every level."""
    late_ms, count, false = [], 0, 0
    for level_db in levels:
        for text, voice in SENTENCES:
            speech = said(text, voice, level_db)
            count += 1
            mixed, place = background.copy(), round(BEGINS_S * SAMPLE_RATE)
            mixed[place : place + len(speech)] += speech[: len(mixed) - place]
            at_s = BEGINS_S + float(np.flatnonzero(np.abs(speech) > LOUD)[0]) / SAMPLE_RATE
            times = begun(mixed, played)
            false += sum(time < BEGINS_S for time in times)
            heard = [time - at_s for time in times if BEGINS_S <= time < at_s + PATIENCE_S]
            late_ms += [1000 * heard[0]] if heard else []
    spread = f"median {np.median(late_ms):.0f} ms, most {max(late_ms):.0f} ms" if late_ms else "none heard"
    return f"{spread}; missed {count - len(late_ms)} of {count}; begun before anybody spoke {false} times"


def main() -> None:
    """Print what was measured."""
    options = {**OPTIONS, **dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)}
    if unknown := {word.partition("=")[0] for word in sys.argv[1:]} - set(OPTIONS):
        sys.exit(f"listening.py: {', '.join(sorted(unknown))} is unknown. Keys are {', '.join(OPTIONS)}.")
    levels = [float(level) for level in options["levels"].split(",")]
    random, length = np.random.default_rng(int(options["seed"])), round((BEGINS_S + 4) * SAMPLE_RATE)
    for item in filter(None, options["noises"].split(",")):
        colour, _, level_db = item.partition(":")
        print(f"{colour} noise of {level_db} dB: {measure(noise(colour, float(level_db), length, random), levels)}")
    anchor = np.concatenate([np.zeros(SAMPLE_RATE // 2, np.float32), said(3 * ANCHOR, "en-us", -20.0)])[:length]
    for gain_db in filter(None, options["echoes"].split(",")):
        heard = echo_of(anchor, float(gain_db), random) + noise("white", -54.0, length, random)
        print(f"over an echo of {gain_db} dB: {measure(heard, levels, anchor)}", flush=True)


if __name__ == "__main__":
    main()

"""How soon a microphone's listener hears that somebody speaks, and whom it misses: sentences laid into made-up sound.

    python benchmarks/listening.py [noises=white:-50,brown:-34] [echoes=-30,-20,-10,-3] [levels=-26,-20,-14]
                                   [begins=4.0,1.0] [seed=0]

noises: colour:dB of full scale. echoes: the anchor's own voice of -20 dB, so many dB lower, from a made-up room, over
white noise of -54 dB; it begins after 0.5 s. Into each, at begins (s), eight sentences of espeak-ng at every level
(RMS, dB of full scale): milliseconds from the first sample above 0.02 to the beginning that is told, how many are
missed within 1.5 s at each level, how often something began before anybody spoke. And the anchor alone, four voices
from rooms that give it back after 0.06, 0.18 and 0.4 s: how often it took itself for somebody.
"""

from __future__ import annotations

import sys

import numpy as np

from anchor.speech.activity import PIECE, VoiceActivity
from anchor.speech.espeak import speak
from anchor.studio.narration import resample
from anchor.timing import SAMPLE_RATE

OPTIONS = {
    "noises": "white:-50,brown:-34", "echoes": "-30,-20,-10,-3", "levels": "-26,-20,-14", "begins": "4.0,1.0",
    "seed": "0",
}  # fmt: skip
SENTENCES = [
    ("Stop it, please, and listen to me!", "en-gb-x-rp+f3"), ("What is the weather like tomorrow?", "en-us"),
    ("Good evening, how are you?", "en-us+f2"), ("And now something else.", "en-gb-scotland+m3"),
    ("今天天气很好，我们出去走走吧。", "cmn"), ("请等一下，我有一个问题。", "cmn+f2"),
    ("Tell me more about the second one.", "en-us+m5"), ("No, that is not what I meant.", "en-gb-x-rp"),
]  # fmt: skip
CHINESE = "大家晚上好,欢迎收看今天的新闻节目。今天我们有三条消息要告诉大家。"
ANCHOR = "Good evening, and welcome. Here is the news of today, read by somebody who does not exist. "
LENGTH_S = 8.0
VOICES, DELAYS_S = ("en-us", "cmn", "en-gb-x-rp+f3", "en-us+m5"), (0.06, 0.18, 0.4)  # of the anchor alone
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


def measure(background: np.ndarray, levels: list[float], begins_s: float, played: np.ndarray | None = None) -> str:
    """One line of figures over every sentence at every level."""
    late_ms, missed, false = [], dict.fromkeys(levels, 0), 0
    for level_db in levels:
        for text, voice in SENTENCES:
            speech = said(text, voice, level_db)
            mixed, place = background.copy(), round(begins_s * SAMPLE_RATE)
            mixed[place : place + len(speech)] += speech[: len(mixed) - place]
            at_s = begins_s + float(np.flatnonzero(np.abs(speech) > LOUD)[0]) / SAMPLE_RATE
            times = begun(mixed, played)
            false += sum(time < begins_s for time in times)
            heard = [time - at_s for time in times if begins_s <= time < at_s + PATIENCE_S]
            late_ms += [1000 * heard[0]] if heard else []
            missed[level_db] += not heard
    spread = f"median {np.median(late_ms):.0f} ms, most {max(late_ms):.0f} ms" if late_ms else "none heard"
    each = ", ".join(f"{count} of {len(SENTENCES)} of {level_db:g} dB" for level_db, count in missed.items())
    return f"{spread}; missed {each}; begun before anybody spoke {false} times"


def alone(gain_db: float, random: np.random.Generator) -> str:
    """How often the anchor's own voice, and nobody else's, counts as speech."""
    false = 0
    for voice in VOICES:
        for delay_s in DELAYS_S:
            text = CHINESE if voice == "cmn" else 2 * ANCHOR
            played = np.concatenate([np.zeros(SAMPLE_RATE // 2, np.float32), said(text, voice, -20.0)])
            heard = echo_of(played, gain_db, random, delay_s) + noise("white", -54.0, len(played), random)
            false += len(begun(heard, played))
    return f"began {false} times in {len(VOICES) * len(DELAYS_S)} runs"


def main() -> None:
    """Print what was measured."""
    options = {**OPTIONS, **dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)}
    if unknown := {word.partition("=")[0] for word in sys.argv[1:]} - set(OPTIONS):
        sys.exit(f"listening.py: {', '.join(sorted(unknown))} is unknown. Keys are {', '.join(OPTIONS)}.")
    levels, begins = ([float(item) for item in options[name].split(",")] for name in ("levels", "begins"))
    random, length = np.random.default_rng(int(options["seed"])), round(LENGTH_S * SAMPLE_RATE)
    for item in filter(None, options["noises"].split(",")):
        colour, _, level_db = item.partition(":")
        found = measure(noise(colour, float(level_db), length, random), levels, begins[0])
        print(f"{colour} noise of {level_db} dB: {found}")
    anchor = np.concatenate([np.zeros(SAMPLE_RATE // 2, np.float32), said(3 * ANCHOR, "en-us", -20.0)])[:length]
    for gain_db in filter(None, options["echoes"].split(",")):
        heard = echo_of(anchor, float(gain_db), random) + noise("white", -54.0, length, random)
        for begins_s in begins:
            found = measure(heard, levels, begins_s, anchor)
            print(f"over an echo of {gain_db} dB, after {begins_s:g} s: {found}", flush=True)
        print(f"the anchor alone, an echo of {gain_db} dB: {alone(float(gain_db), random)}", flush=True)


if __name__ == "__main__":
    main()

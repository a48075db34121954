"""Who takes part: a look and a voice that stay together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anchor.synth.speakers import Speaker, draw_speaker
from anchor.synth.words import Voice, draw_voice

__all__ = ["Person", "clip_stem", "draw_person", "person_name"]

# Streams of random numbers; different numbers keep choices independent of each other.
_LOOK, _SECOND_LOOK, _VOICE = 0, 1, 2


@dataclass(frozen=True)
class Person:
    """A speaker of a corpus."""

    name: str  # spk003, or held003 for held-out people
    seed: tuple[int, ...]
    look: Speaker
    second_look: Speaker  # what a cut changes to
    voice: Voice


def draw_person(seed: int, number: int, language: str = "mixed", held_out: bool = False) -> Person:
    """Person ``number`` of the corpus with that seed; held-out people share no look and no voice with the others."""
    own_seed = (seed, number, int(held_out))
    look = draw_speaker([*own_seed, _LOOK])
    return Person(
        name=person_name(number, held_out),
        seed=own_seed,
        look=look,
        second_look=draw_speaker([*own_seed, _SECOND_LOOK]),
        voice=draw_voice(np.random.default_rng([*own_seed, _VOICE]), language, look.is_female, held_out),
    )


def person_name(number: int, held_out: bool) -> str:
    """``spk003``, or ``held003``: held-out people can stand in the same folder."""
    return f"{'held' if held_out else 'spk'}{number:03d}"


def clip_stem(name: str, take: int) -> str:
    """The name of a clip's files, ``<speaker>_<take>``."""
    return f"{name}_{take:02d}"

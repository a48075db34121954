"""Which questions are asked, and of whom: what a split holds out decides what a score can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from anchor.arguments import nearest
from anchor.batch import ClipEntry, ClipSource
from anchor.errors import ConfigError
from anchor.evaluation.mouths import PROTOCOLS

__all__ = ["HeldOut", "choose_protocols", "look_at_split"]


@dataclass(frozen=True)
class HeldOut:
    """What the split keeps from training, as far as this set can say."""

    by: Literal["speaker", "time", "speaker and time", "nothing"]
    strangers: frozenset[str]  # speakers whose clips train nothing
    seen: frozenset[str]  # speakers of whom only other minutes were trained on
    speakers_in_all: int

    def notes(self) -> list[str]:
        """Sentences for the report."""
        notes = []
        if self.by == "nothing":
            notes.append(
                "The clips scored are training clips: the scores say what was learnt by heart, and nothing of how it "
                "carries over."
            )
        if self.speakers_in_all == 1:
            notes.append(
                "The set holds one speaker. Minutes of this person can be held out, persons cannot: these scores say "
                "how this person is drawn and heard in minutes never seen, and nothing about anybody else; speech "
                "called foreign is this person's own, of other clips."
            )
        elif self.by == "time":
            notes.append(
                "Held out by time: every person scored was seen in training, in other minutes. Nothing here is about "
                "strangers."
            )
        return notes


def look_at_split(source: ClipSource, clips: Sequence[ClipEntry], split: str) -> HeldOut:
    """Whether ``clips`` are of strangers, or other minutes of people that the training split shows."""
    trained = {clip.speaker for clip in source.clips if clip.split == "train"}
    scored = {clip.speaker for clip in clips}
    strangers, seen = scored - trained, scored & trained
    by: Literal["speaker", "time", "speaker and time", "nothing"] = "speaker"
    if split == "train":
        by = "nothing"
    elif seen:
        by = "speaker and time" if strangers else "time"
    return HeldOut(by, frozenset(strangers), frozenset(seen), len({clip.speaker for clip in source.clips}))


def choose_protocols(asked: Sequence[str], held_out: HeldOut) -> tuple[str, ...]:
    """The protocols to run: those asked for, else all that apply.

    Raises:
        ConfigError: a name is none of them, or ``person`` was asked for and nobody's minutes are held out.
    """
    for name in asked:
        if name not in PROTOCOLS:
            raise ConfigError(
                f"protocol={name} is none.{nearest(name, PROTOCOLS)} Choose from {', '.join(PROTOCOLS)}, or leave the "
                "key out for all that apply."
            )
    has_person = held_out.by in ("time", "speaker and time")
    if "person" in asked and not has_person:
        raise ConfigError(
            "protocol=person scores held-out minutes of persons that training saw, and no speaker of this split has "
            "clips in the training split. Preprocess with split=time, or leave protocol=person out."
        )
    return tuple(name for name in PROTOCOLS if (name in asked if asked else name != "person" or has_person))

"""Who trains and who validates: decided once, from names and a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

from anchor.errors import ConfigError

__all__ = ["Part", "SplitName", "assign_splits"]

SplitName = Literal["auto", "speaker", "time"]


class Part(NamedTuple):
    """One segment, as far as splitting cares."""

    key: str
    speaker: str
    num_frames: int


def assign_splits(parts: Sequence[Part], split: SplitName, val_share: float, seed: int) -> list[str]:
    """Give each part "train" or "val"; parts come in order of source and time.

    "speaker" holds out whole speakers: each is drawn with the probability ``val_share`` by a hash of seed and name
    alone, so that a set which grows never moves anybody from one side to the other. Only where that would leave a side
    empty the speaker with the smallest hash is held out, or the one with the largest trains. "time" holds out the last
    parts of each speaker until ``val_share`` of the frames are reached, at least one, never all. "auto" is "speaker"
    where there are two speakers or more.

    Raises:
        ConfigError: split=speaker with fewer than two speakers.
    """
    speakers = sorted({part.speaker for part in parts})
    if split == "auto":
        split = "speaker" if len(speakers) >= 2 else "time"
    if split == "speaker":
        if len(speakers) < 2:
            raise ConfigError(
                f"split=speaker needs two speakers, the source has {', '.join(speakers) or 'none'}. "
                "Use split=time, or put each speaker's clips into a folder of their own."
            )
        held_out = _draw(speakers, val_share, seed)
        return ["val" if part.speaker in held_out else "train" for part in parts]
    chosen: set[str] = set()
    for speaker in speakers:
        own = [part for part in parts if part.speaker == speaker]
        wanted, reached = val_share * sum(part.num_frames for part in own), 0
        for part in own[:0:-1]:  # never the first: something must be left to train on
            if reached and reached + part.num_frames / 2 > wanted:
                break
            chosen.add(part.key)
            reached += part.num_frames
    if not chosen and len(parts) > 1:  # one part each: the last speaker is held out after all
        chosen.add(parts[-1].key)
    return ["val" if part.key in chosen else "train" for part in parts]


def _draw(speakers: Sequence[str], val_share: float, seed: int) -> set[str]:
    """The speakers to hold out."""
    places = {
        name: int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") / 2**64 for name in speakers
    }
    ordered = sorted(speakers, key=lambda name: (places[name], name))
    count = sum(place < val_share for place in places.values())
    return set(ordered[: min(max(1, count), len(ordered) - 1)])

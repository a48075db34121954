"""One line of the table, and those that a face has with its own speech and with another's alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["COPY", "OWN", "Group", "Row", "fid_row", "identity_row", "lse_rows", "referee_rows"]

Better = Literal["high", "low", "one", "zero", ""]

COPY = "the reference copied, nothing drawn"
OWN = "against what the face really said"


@dataclass(frozen=True)
class Row:
    """One line of a table: our score, and beside it the same measure on real pictures, and a control."""

    name: str
    label: str
    meaning: str
    better: Better
    unit: str = ""
    real: str | float | None = None  # a score's name, or a number known without measuring
    control: str | float | None = None
    control_label: str = ""


Group = tuple[str, list[Row]]  # what it is about, and its lines


def referee_rows(kind: str) -> list[Row]:
    """What the referee says; ``kind`` is self or dub."""
    return [
        Row(
            f"{kind}/referee_prefers_true",
            "referee prefers the true moment",
            "share of persons whose mouth fits its speech better than the speech 0.2 s or more away",
            "high",
            real="real/referee_prefers_true",
        ),
        Row(
            f"{kind}/referee_margin",
            "referee's margin",
            "share of the mouth's movement that its speech explains, over the most that shifted speech does",
            "high",
            real="real/referee_margin",
        ),
        Row(
            f"{kind}/referee_offset_within_one",
            "referee finds offset 0 within 1 frame",
            "share of persons",
            "high",
            real="real/referee_offset_within_one",
            control=3 / 31,
            control_label="chance",
        ),
    ]


def lse_rows(kind: str) -> list[Row]:
    """What the original SyncNet says; ``kind`` is self or dub."""
    return [
        Row(f"{kind}/lse_d", "LSE-D", "the original SyncNet's distance", "low", real="real/lse_d"),
        Row(f"{kind}/lse_c", "LSE-C", "the original SyncNet's confidence", "high", real="real/lse_c"),
        Row(
            f"{kind}/lse_offset_within_one",
            "original SyncNet finds offset 0 within 1",
            "share of clips",
            "high",
            real="real/lse_offset_within_one",
        ),
    ]


def identity_row(kind: str) -> Row:
    """What a face embedding says."""
    return Row(f"{kind}/identity", "identity", "cosine of face embeddings", "high", real="real/identity")


def fid_row(kind: str) -> Row:
    """What Inception says."""
    meaning = "of the face, by the network given; few pictures raise it"
    return Row(f"{kind}/fid", "FID", meaning, "low", real=0.0)

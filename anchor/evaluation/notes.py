"""What must be read with the scores: sentences for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anchor.evaluation.stage import StageScores

__all__ = ["notes_of"]


def notes_of(record: Mapping[str, Any], has_judge: bool, found: StageScores) -> list[str]:
    """Where a score is circular, a proxy or left out, and which choice was made."""
    scores, reference = record["scores"], record["reference"]
    notes = [
        f"The reference picture is reference={reference}; the same choice as `anchor infer reference={reference}`."
    ]
    if has_judge:
        notes.append(
            "The expert's opinion of dubbed faces is circular where it was the training loss: a generator learns to "
            "please it. Another expert, trained apart, is a fair judge, and the referee needs no network at all. These "
            "scores are not LSE-D or LSE-C: those need the original network."
        )
    if "dub/opening_r" in scores:
        notes.append(
            "Openings are read by a small network taught on real training frames with known truth, never on drawn "
            "ones. Its own r on real held-out frames stands beside ours, and is the most that could be reached."
        )
    elif "cross" in record["protocols"]:
        notes.append(
            "These clips do not know how far their mouths open, so only a coarse proxy and the referee speak about the "
            "dubbed faces."
        )
    if record["landmarks"] == "none":
        notes.append(
            "No landmark model: jitter, motion and silence are measured on pixels alone, and landmark distances are "
            "left out. `anchor models fetch` and landmarks= name one."
        )
    if found.kinds - {"other speaker"}:
        notes.append(
            "Too few speakers for strangers everywhere: faces were dubbed with speech of "
            f"{', '.join(sorted(found.kinds))}."
        )
    if found.silent_clips:
        notes.append(
            f"{found.silent_clips} of {len(record['clips'])} clips hold no second of sound: nobody can say whether a "
            "mouth fits silence, so the referee left them out."
        )
    if found.resized:
        notes.append(
            f"Drawn at another size and resampled to be compared: {', '.join(found.resized)}. Resampling costs "
            "sharpness, also where nothing is drawn."
        )
    return notes

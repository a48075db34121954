"""What the scores are called, what they mean, and what to read them against. One list for terminal and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["GROUPS", "Row", "rows_of"]

Better = Literal["high", "low", "one", "zero", ""]


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


_COPY = "the reference copied, nothing drawn"
_OWN = "against what the face really said"

GROUPS: dict[str, tuple[str, list[Row]]] = {
    "Expert": (
        "Held-out clips, nothing drawn. The expert hears and sees; chance stands beside each score.",
        [
            Row(
                "expert/pair_accuracy",
                "pair accuracy",
                "the true speech beats speech of the same clip shifted by 5 to 15 frames",
                "high",
                control=0.5,
                control_label="chance",
            ),
            Row(
                "expert/foreign_accuracy",
                "foreign accuracy",
                "the true speech beats speech of another clip",
                "high",
                control=0.5,
                control_label="chance",
            ),
            Row(
                "expert/offset_within_one",
                "offset found within 1 frame",
                "share of clips whose best shift out of -15..15 is -1, 0 or 1",
                "high",
                control=3 / 31,
                control_label="chance",
            ),
            Row(
                "expert/offset_exact",
                "offset found exactly",
                "share of clips whose best shift is 0",
                "high",
                control=1 / 31,
                control_label="chance",
            ),
            Row(
                "expert/loss",
                "loss",
                "cross-entropy of picking the true speech among that shifted by 5 to 15 frames",
                "low",
                control="expert/loss_chance",
                control_label="chance",
            ),
            Row("expert/cosine_true", "cosine of true pairs", "mouth and its own speech", ""),
            Row(
                "expert/peak_offset_frames",
                "peak of the shift curve",
                "over all clips; above 0 the sound of the material is late",
                "zero",
                "frames",
            ),
        ],
    ),
    "Own speech": (
        "The generator redraws each face with its own speech; counted where the reference is 5 frames away or more.",
        [
            Row(
                "self/mouth_psnr",
                "mouth PSNR",
                "the box around the mouth",
                "high",
                "dB",
                None,
                "copy/mouth_psnr",
                _COPY,
            ),
            Row("self/mouth_ssim", "mouth SSIM", "the box around the mouth", "high", "", 1.0, "copy/mouth_ssim", _COPY),
            Row(
                "self/lower_psnr", "lower half PSNR", "all that is drawn", "high", "dB", None, "copy/lower_psnr", _COPY
            ),
            Row("self/lower_ssim", "lower half SSIM", "all that is drawn", "high", "", 1.0, "copy/lower_ssim", _COPY),
            Row("self/lower_l1", "lower half L1", "colours in [-1, 1]", "low", "", 0.0, "copy/lower_l1", _COPY),
            Row(
                "self/jitter_ratio",
                "jitter ratio",
                "second difference in time over that of the real mouth",
                "one",
                "",
                1.0,
            ),
            Row(
                "self/sharpness_ratio",
                "sharpness ratio",
                "Laplacian variance over that of the real mouth",
                "one",
                "",
                1.0,
            ),
            Row(
                "self/opening_r",
                "opening r",
                "read opening against the truth of the speech",
                "high",
                "",
                "real/opening_r",
            ),
        ],
    ),
    "Another's speech": (
        "Each face is dubbed with the speech of another held-out clip: what `anchor infer` does.",
        [
            Row(
                "dub/opening_r",
                "opening r",
                "how far the drawn mouth opens against the truth of the speech, mean over clips",
                "high",
                "",
                "real/opening_r",
                "dub/opening_r_control",
                _OWN,
            ),
            Row(
                "dub/opening_r_p10",
                "opening r, 10th percentile",
                "one clip in ten is worse",
                "high",
                "",
                "real/opening_r_p10",
            ),
            Row(
                "dub/motion_r",
                "motion against loudness, r",
                "a proxy that needs no truth: mouth-box motion and loudness at the pace of syllables. "
                "It is coarse: read it only against the real video's",
                "",
                "",
                "real/motion_r",
                "dub/motion_r_control",
                _OWN,
            ),
            Row(
                "dub/offset_within_one",
                "expert finds offset 0 within 1 frame",
                "circular if this expert taught the generator: a check, no measure of quality",
                "high",
                "",
                "real/offset_within_one",
                3 / 31,
                "chance",
            ),
            Row(
                "dub/cosine",
                "expert's cosine",
                "circular if this expert taught the generator; above the real one it is being flattered",
                "",
                "",
                "real/cosine",
            ),
        ],
    ),
    "Speed": (
        "Drawing alone, bytes in to bytes out; decoding, pasting and encoding come on top.",
        [
            Row("speed/frames_per_second", "frames per second", "in batches; live video needs 25", "high"),
            Row("speed/one_frame_ms", "one frame alone", "median", "low", "ms"),
        ],
    ),
}


def rows_of(scores: Mapping[str, float]) -> list[tuple[str, str, list[tuple[Row, str, str, str]]]]:
    """``(group, what it is, [(row, ours, real, control)])`` for the scores that are there, as text."""
    groups = []
    for group, (text, rows) in GROUPS.items():
        lines = [
            (row, _show(row, scores[row.name]), _look_up(row, row.real, scores), _look_up(row, row.control, scores))
            for row in rows
            if row.name in scores
        ]
        if lines:
            groups.append((group, text, lines))
    return groups


def _look_up(row: Row, what: str | float | None, scores: Mapping[str, float]) -> str:
    value = scores.get(what) if isinstance(what, str) else what
    return "" if value is None else _show(row, value)


def _show(row: Row, value: float) -> str:
    digits = 1 if row.unit in ("dB", "ms") or abs(value) >= 100 else 0 if row.unit == "frames" else 3
    return f"{value:.{digits}f}{' ' + row.unit if row.unit else ''}"

"""Which segments are worth training on: a limit per measure, and what is said of a segment beyond one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

from anchor.errors import ConfigError
from anchor.preprocess.cleaning.measures import SegmentMeasures

__all__ = ["KINDS", "MIN_CONTRAST", "MIN_FACE_PX", "SILENT", "Limits", "Verdict", "judge"]

MIN_FACE_PX = 32.0  # a face less high than this has no lips to learn from
MIN_CONTRAST = 20.0  # spread of the grey values; faces lost in the dark had 5 to 18, usable ones 26 to 56
# In pauses of real clips mouths move by 0.02 to 0.06, 0.3 to 0.5 of what the same mouth does while it speaks (0.046 to
# 0.21); a photograph in a video has 0.024. Noise counts as motion, hence the comparison with the same face.
REST_SHARE, REST_MOTION = 0.6, 0.04
REST_UNHEARD = 0.06  # where the face is never heard to speak
SILENT = "silent"

KINDS = {
    "small face": "come closer, or export at the camera's full resolution",
    "soft": "focus on the eyes, and export without compressing again",
    "dark": "put more light on the face",
    "bright": "lower the exposure until the skin keeps its shades",
    "flat": "the face is too dark or too flat to show its lips; use a brighter picture",
    "turned": "let the head face the camera",
    "quiet": "raise the gain, or come closer to the microphone",
    SILENT: "more silence than silent_quota= keeps",
    "moving in silence": "the mouth moves and nothing is heard: the sound is missing here",
    "no match": "sound and lips do not belong together",
}


@dataclass(frozen=True)
class Limits:
    """Beyond these a segment is left out; None is no limit. Chosen on measured clips, see docs/preprocess.md."""

    min_sharpness: float | None = 0.2
    min_luma: float | None = 30.0
    max_luma: float | None = 240.0
    min_contrast: float | None = MIN_CONTRAST
    min_face_px: float | None = MIN_FACE_PX
    max_yaw: float | None = 40.0
    max_pitch: float | None = 30.0
    max_roll: float | None = 30.0
    min_speech_db: float | None = -50.0
    max_silence: float | None = 0.9

    def __post_init__(self) -> None:
        for field in fields(self):  # 0 and none are the same
            object.__setattr__(self, field.name, getattr(self, field.name) or None)
        ranges = {"min_sharpness": (0, 1), "min_luma": (0, 255), "max_luma": (0, 255), "min_contrast": (0, 128),
                  "min_face_px": (0, 10_000), "max_yaw": (0, 90), "max_pitch": (0, 90), "max_roll": (0, 180),
                  "min_speech_db": (-100, 0), "max_silence": (0, 1)}  # fmt: skip
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name}={value:g} is out of range. Give {low} to {high}, or none for no limit.")
        if self.min_luma is not None and self.max_luma is not None and self.min_luma >= self.max_luma:
            raise ConfigError(
                f"min_luma={self.min_luma:g} is not below max_luma={self.max_luma:g}: no face would be left. "
                "Exchange them."
            )


class Verdict(NamedTuple):
    """What becomes of a segment: "kept", "silent" (kept where the quota has room), or one of KINDS."""

    decision: str
    why: str = ""  # every limit that it is beyond, with the value measured
    is_written: bool = False  # kept, or silent with a mouth at rest, of which the quota keeps some


def judge(measures: SegmentMeasures, limits: Limits) -> Verdict:
    """The verdict on one segment by its own measures."""
    found = list(_faults(measures, limits))
    if found:
        return Verdict(found[0][0], "; ".join(text for _, text in found))
    if limits.max_silence is not None and measures.silence_share > limits.max_silence:
        why = f"{measures.silence_share:.0%} silence, the limit is {limits.max_silence:.0%}"
        return Verdict(SILENT, why, is_written=measures.silent_motion is not None)
    return Verdict("kept", is_written=True)


def _faults(measures: SegmentMeasures, limits: Limits) -> Iterator[tuple[str, str]]:
    low, high = _is_low, _is_high
    checks = (
        ("small face", low, measures.face_px, limits.min_face_px, "the face is {:.0f} px high", "{:.0f}"),
        ("flat", low, measures.contrast, limits.min_contrast, "contrast {:.0f}", "{:.0f}"),
        ("dark", low, measures.luma, limits.min_luma, "luma {:.0f} of 255", "{:.0f}"),
        ("bright", high, measures.luma, limits.max_luma, "luma {:.0f} of 255", "{:.0f}"),
        ("soft", low, measures.sharpness, limits.min_sharpness, "sharpness {:.2f}", "{:.2f}"),
        ("turned", high, measures.yaw_deg, limits.max_yaw, "turned aside by {:.0f} degrees", "{:.0f}"),
        ("turned", high, measures.pitch_deg, limits.max_pitch, "turned up or down by {:.0f} degrees", "{:.0f}"),
        ("turned", high, measures.roll_deg, limits.max_roll, "tilted by {:.0f} degrees", "{:.0f}"),
    )
    for kind, is_beyond, value, limit, text, shown in checks:
        if value is not None and limit is not None and is_beyond(value, limit):
            yield kind, f"{text.format(value)}, the limit is {shown.format(limit)}"
    is_silent = limits.max_silence is not None and measures.silence_share > limits.max_silence
    if is_silent and measures.silent_motion is not None:
        rest = REST_UNHEARD
        if measures.spoken_motion is not None:
            rest = max(REST_MOTION, REST_SHARE * measures.spoken_motion)
        if measures.silent_motion > rest:
            moves = f"the mouth moves by {measures.silent_motion:.3f}, at rest by {rest:.3f} or less"
            yield (
                "moving in silence",
                f"{measures.silence_share:.0%} silence ({measures.speech_db:.0f} dB), but {moves}",
            )
    if not is_silent and limits.min_speech_db is not None and measures.speech_db < limits.min_speech_db:
        yield "quiet", f"speech at {measures.speech_db:.0f} dB, the limit is {limits.min_speech_db:.0f}"


def _is_low(value: float, limit: float) -> bool:
    return value < limit


def _is_high(value: float, limit: float) -> bool:
    return value > limit

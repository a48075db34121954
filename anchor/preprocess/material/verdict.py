"""What measures mean: kept or refused as `anchor preprocess` would decide, and what could be better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anchor.preprocess.material.measures import Measures
from anchor.preprocess.sync import Offset

__all__ = ["ADVICE", "MIN_FRAMES", "Limits", "Note", "Verdict", "advise", "judge"]

MIN_FRAMES = 15  # frames of one face in a row that `anchor preprocess` takes (its min_s=0.6)
MIN_FACE_PX = 32  # the least height of a face
MIN_CONTRAST = 20.0  # and the least spread of its grey values


@dataclass(frozen=True)
class Limits:
    """Where a note begins. Measured over nineteen real clips (docs/material.md); none of them refuses a clip."""

    sharpness: float = 0.40  # three of nineteen lie below, those that look soft; the next has 0.43
    face_px: int = 96  # a crop of 192 px is then enlarged more than twice
    luma: tuple[float, float] = (60.0, 225.0)  # faces of light and dark skin have 86 to 191; a stop is a factor of 0.73
    dark_share: float = 0.25
    bright_share: float = 0.05
    found_share: float = 0.8
    level_db: float = -40.0  # speech in real clips has -32 to -12
    clipped_share: float = 0.001  # unharmed sound has less than 0.00005, sound 6 dB too loud 0.002 to 0.05
    silence_share: float = 0.5
    noise_distance_db: float = 12.0  # from the noise up to the speech; 14 to 35 but in the two clips with an audience
    fps: float = 20.0
    offset_ms: float = (
        100.0  # EBU R37 allows the sound of a programme to be 60 ms late and 40 ms early; +-20 is our error
    )


@dataclass(frozen=True)
class Note:
    """One thing that could be better."""

    kind: str  # one of ADVICE
    text: str


@dataclass(frozen=True)
class Verdict:
    """Whether `anchor preprocess` takes the clip, why not, and what else there is to say."""

    is_kept: bool
    reason: str = ""
    notes: tuple[Note, ...] = ()


ADVICE = {
    "soft": "focus on the eyes, lock the focus, and export without compressing again",
    "small face": "come closer, or export at the camera's full resolution",
    "dark": "put more light on the face",
    "bright": "lower the exposure until the skin keeps its shades",
    "face missing": "keep the face in the picture and turned to the camera",
    "several faces": "keep others out of the picture, or crop the video to the speaker",
    "quiet": "raise the gain or come closer to the microphone",
    "clipped sound": "lower the recording level: what is cut off cannot be brought back",
    "noisy": "record in a quiet room, close to the microphone",
    "silent": "cut out long pauses: only speech teaches lips",
    "variable rate": "record at a constant frame rate",
    "sound late": "anchor preprocess moves the sound by what is measured; see whether the export delays it",
    "sound early": "anchor preprocess moves the sound by what is measured; see whether the export delays the picture",
    "low rate": "record at 25 frames per second or more",
}


def judge(path: Path, measures: Measures, limits: Limits | None = None) -> Verdict:
    """The verdict on one clip; the reasons are those of `anchor preprocess`."""
    notes = tuple(_notes(measures, limits or Limits()))
    reason = _refusal(path, measures)
    return Verdict(not reason, reason, notes)


def advise(verdicts: Sequence[tuple[Measures | None, Verdict]]) -> str:
    """One sentence: what would improve most minutes of material; empty where nothing was noted."""
    seconds: dict[str, float] = {}
    clips: dict[str, int] = {}
    for measures, verdict in verdicts:
        for note in verdict.notes:
            seconds[note.kind] = seconds.get(note.kind, 0.0) + (measures.seconds if measures else 0.0)
            clips[note.kind] = clips.get(note.kind, 0) + 1
    if not seconds:
        return ""
    kind = max(seconds, key=lambda kind: (seconds[kind], clips[kind]))
    count = f"{clips[kind]} clip{'s are' if clips[kind] > 1 else ' is'}"
    return f"To improve: {count} marked {kind!r}: {ADVICE[kind]}."


def _refusal(path: Path, measures: Measures) -> str:
    if measures.sound is None:
        return measures.sound_reason
    if measures.frames < MIN_FRAMES:
        return (
            f"{path}: picture and sound last {measures.frames} frames together, a segment needs {MIN_FRAMES}. "
            "Use a longer clip, or lower min_s."
        )
    if measures.longest_run < MIN_FRAMES:
        what = "no face"
        if measures.faces is not None:
            count = round(measures.faces.found_share * measures.frames)
            what = f"a face in {count} of {measures.frames} frames, never {MIN_FRAMES} in a row"
        return f"{path}: {what}. Use a clip that shows one person from the front, or another detector=."
    if measures.faces is not None and measures.faces.height_px < MIN_FACE_PX:
        return (
            f"{path}: the face is {measures.faces.height_px} px high, lips need {MIN_FACE_PX}. "
            "Use a closer or a larger picture."
        )
    if measures.faces is not None and measures.faces.contrast < MIN_CONTRAST:
        return f"{path}: the face is too dark or too flat to show its lips. Use a brighter picture."
    if measures.lips is not None and measures.lips.status == "no match":
        return f"{path}: {measures.lips.reason}. Use the recording's own sound, or leave the clip out."
    return ""


def _notes(measures: Measures, limits: Limits) -> list[Note]:
    notes: list[Note] = []
    if measures.faces is not None:
        notes += _face_notes(measures, limits)
    if measures.sound is not None:
        notes += _sound_notes(measures, limits)
    if measures.lips is not None:
        notes += _lip_notes(measures.lips, limits)
    if measures.is_variable_rate:
        notes.append(Note("variable rate", f"the frame rate varies, {measures.fps:.1f} fps in the mean"))
    if measures.fps < limits.fps:
        notes.append(Note("low rate", f"{measures.fps:.1f} pictures a second; lips move faster"))
    return notes


def _face_notes(measures: Measures, limits: Limits) -> list[Note]:
    faces = measures.faces
    assert faces is not None
    notes = []
    if faces.sharpness < limits.sharpness:
        notes.append(Note("soft", f"sharpness {faces.sharpness:.2f}, good from {limits.sharpness:.2f}"))
    if faces.height_px < limits.face_px:
        notes.append(Note("small face", f"the face is {faces.height_px} px high, good from {limits.face_px}"))
    if faces.luma < limits.luma[0] or faces.dark_share > limits.dark_share:
        black = f", {faces.dark_share:.0%} of it black" if faces.dark_share > limits.dark_share else ""
        notes.append(Note("dark", f"the face has luma {faces.luma:.0f} of 255{black}"))
    if faces.luma > limits.luma[1] or faces.bright_share > limits.bright_share:
        white = f", {faces.bright_share:.0%} of it white" if faces.bright_share > limits.bright_share else ""
        notes.append(Note("bright", f"the face has luma {faces.luma:.0f} of 255{white}"))
    if faces.found_share < limits.found_share:
        notes.append(Note("face missing", f"{1 - faces.found_share:.0%} of the frames without a face"))
    if faces.count > 1:
        notes.append(Note("several faces", f"{faces.count} faces at once; the largest that stays is followed"))
    return notes


def _sound_notes(measures: Measures, limits: Limits) -> list[Note]:
    sound = measures.sound
    assert sound is not None
    notes = []
    if sound.activity > 0 and sound.level_db < limits.level_db:
        notes.append(Note("quiet", f"speech at {sound.level_db:.0f} dB, good from {limits.level_db:.0f}"))
    elif sound.silence_share > limits.silence_share:  # quiet speech would count as silence
        notes.append(Note("silent", f"{sound.silence_share:.0%} of the time is silence"))
    if sound.clipped_share > limits.clipped_share:
        notes.append(Note("clipped sound", f"{sound.clipped_share:.1%} of the samples stand at full scale"))
    distance = sound.level_db - sound.noise_db
    if sound.activity > 0 and distance < limits.noise_distance_db:
        notes.append(Note("noisy", f"speech is only {distance:.0f} dB above the noise, or never pauses"))
    return notes


def _lip_notes(lips: Offset, limits: Limits) -> list[Note]:
    if lips.offset_ms is None or abs(lips.offset_ms) < limits.offset_ms:
        return []
    if lips.offset_ms > 0:
        return [Note("sound late", f"the sound is {lips.offset_ms:.0f} ms late against the lips")]
    return [Note("sound early", f"the sound is {-lips.offset_ms:.0f} ms early against the lips")]

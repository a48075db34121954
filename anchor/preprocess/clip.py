"""One video in, its segments out: frames, faces, crops, speech."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from anchor.errors import AnchorError, FaceError, MediaError
from anchor.faces import DetectorName, FaceDetector, FaceTracker, TrackSettings, make_detector
from anchor.media import FrameReader, probe, read_audio
from anchor.ops.mel import mel_config_hash
from anchor.preprocess.crops import PersonCrops, cut_crops, make_thumbnail, plan
from anchor.preprocess.frames import ClipFrames
from anchor.preprocess.people import Person, face_height, find_people, is_company
from anchor.preprocess.results import ClipResult, SegmentResult
from anchor.preprocess.segments import Segment, cut_audio, cut_mel
from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.sound import mel_in_pieces, silence_share
from anchor.preprocess.sources import Source, read_truth
from anchor.preprocess.speaking import keep_speaking
from anchor.preprocess.spool import WriteError, write_members
from anchor.preprocess.truth import cut_truth
from anchor.shards import encode_clip
from anchor.timing import FPS, SAMPLE_RATE, num_frames

__all__ = ["process_clip"]

MIN_CONTRAST = 20.0  # spread of the grey values of a crop; faces lost in the dark had 5 to 18, usable ones 26 to 56
MAX_THUMBNAILS = 8


def process_clip(source: Source, settings: ClipSettings, folder: Path) -> ClipResult:
    """Write the segments of one video under ``folder``; a video that cannot be used is refused with its reason.

    Raises:
        WriteError: ``folder`` cannot be written.
    """
    result = ClipResult(source.name, source.speaker)
    try:
        _process(source, settings, folder, result)
    except WriteError:
        raise
    except AnchorError as error:
        result.reason = str(error)
    except MemoryError:
        result.reason = f"{source.path}: memory ran out. Try workers=1."
        result.is_settled = False
    except Exception as error:  # one clip must never end the others
        result.reason = f"{source.path}: {type(error).__name__}: {error}. Please report this clip."
        result.is_settled = False
    result.is_kept = bool(result.segments)
    return result


def _process(source: Source, settings: ClipSettings, folder: Path, result: ClipResult) -> None:
    clock = _Clock()
    truth = read_truth(source)
    result.speaker = str(truth.get("speaker", source.speaker))
    info = probe(source.path)
    samples = read_audio(source.path)
    mel_SM = mel_in_pieces(samples)
    clock.mark("sound")
    frames = ClipFrames(FrameReader(source.path, info, threads=1))
    detector = _detector(settings.detector)
    tracker = FaceTracker(detector, TrackSettings(stride=settings.detect_every))
    for index, frame in frames:
        tracker.add(index, frame)
    clock.mark("decode_and_detect")
    reader = frames.reader
    total = min(reader.num_frames, num_frames(len(samples)))
    result.facts = {
        "width": info.width, "height": info.height, "fps": round(info.fps, 3), "codec": info.codec,
        "seconds": round(total / FPS, 2), "offset_of_picture_s": round(info.offset_s, 4), "detector": detector.name,
        "reader": reader.backend, "sound_s": round(len(samples) / SAMPLE_RATE, 3), "first_frame": reader.first_frame,
        "picture_frames": reader.num_frames - reader.first_frame, "mel_steps": len(mel_SM),
    }  # fmt: skip
    if reader.reason:
        result.notes.append(f"PyAV read it, decord could not: {reader.reason}")
    people, notes = find_people(tracker, total, settings, str(source.path))
    del tracker  # and with it the last frames
    result.notes += notes
    result.facts |= {
        "hit_rate": round(people[0].track.hit_rate, 3), "face_px": face_height(people[0].track),
        "num_faces": len(people), "silence_share": round(silence_share(samples), 3),
    }  # fmt: skip
    crops = cut_crops(frames, people, settings, folder)
    del frames
    clock.mark("crop_and_encode")
    try:
        if settings.faces == "speaking":
            people = keep_speaking([(own.person, own.motion) for own in crops if own.motion], samples, result)
        _write_segments(source, settings, folder, result, people, crops, samples, mel_SM, truth)
    finally:
        for own in crops:
            own.spool.remove()
    clock.mark("write")
    result.facts["frames"] = sum(segment.num_frames for segment in result.segments)
    result.facts["ms_per_frame"] = {name: round(1e3 * spent / max(1, total), 2) for name, spent in clock.spent.items()}


def _write_segments(
    source: Source, settings: ClipSettings, folder: Path, result: ClipResult, people: list[Person],
    crops: list[PersonCrops], samples: np.ndarray, mel_SM: np.ndarray, truth: dict[str, Any],
) -> None:  # fmt: skip
    has_company = is_company([own.person for own in crops])
    spools = {own.person.number: own.spool for own in crops}
    dark = 0
    for person in people:
        spool, speaker = spools[person.number], result.speaker + (person.suffix if has_company else "")
        for segment in plan(person.track.ids, settings):
            span = range(segment.start, segment.stop)
            missing = [number for number in span if number not in spool]
            if missing:
                raise MediaError(
                    f"frame {missing[0]} of {source.path} could be read once but not again. Copy the clip again."
                )
            if spool.contrast(span) < MIN_CONTRAST:
                dark += segment.num_frames
                continue
            audio = cut_audio(samples, segment)
            key = f"{source.key}{person.suffix}_{segment.start:06d}"
            meta = {
                "key": key, "speaker": speaker, "fps": FPS, "num_frames": segment.num_frames,
                "image_size": settings.image_size, "source": source.name, "start_s": segment.start / FPS,
                "boxes": np.round(person.track.boxes[segment.start : segment.stop], 2).tolist(),
                "detector": result.facts["detector"], "mel_config_hash": mel_config_hash(),
                "offset_ms": 0.0, "silence_share": round(silence_share(audio), 3),
            }  # fmt: skip
            if person.number is not None:
                meta["face"] = person.number
            if truth and not has_company:  # the truth does not say which of several faces it means
                meta["truth"] = cut_truth(truth, segment)
            jpegs = spool.read(span)
            num_bytes = write_members(folder / key, encode_clip(jpegs, cut_mel(mel_SM, segment), audio, meta))
            result.segments.append(
                SegmentResult(key, speaker, segment.start, segment.num_frames, num_bytes, person.number)
            )
            _show(result, person, segment, jpegs)
    if dark:
        result.notes.append(f"{dark} frames left out: the face is too dark or too flat to show its lips")
    if not result.segments:
        raise FaceError(f"{source.path}: the face is too dark or too flat to show its lips. Use a brighter picture.")


def _show(result: ClipResult, person: Person, segment: Segment, jpegs: list[bytes]) -> None:
    """Two pictures of the segment for the report, as long as there is room."""
    for share in (1, 3):
        if len(result.thumbnails) < MAX_THUMBNAILS:
            number = len(jpegs) * share // 4
            face = "" if person.number is None else f"face {person.number}, "
            caption = f"{face}{(segment.start + number) / FPS:.1f} s"
            result.thumbnails.append((caption, make_thumbnail(jpegs[number])))


class _Clock:
    """Seconds per step."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, name: str) -> None:
        """The step that just ended."""
        now = time.perf_counter()
        self.spent[name], self._last = now - self._last, now


_DETECTORS: dict[str, FaceDetector] = {}  # one per process: loading a model costs more than a short clip


def _detector(name: DetectorName) -> FaceDetector:
    if name not in _DETECTORS:
        _DETECTORS[name] = make_detector(name)
    return _DETECTORS[name]

"""One video in, its segments out: frames, faces, crops, speech."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anchor.errors import AnchorError, FaceError, MediaError
from anchor.faces import DetectorName, FaceDetector, FaceTrack, FaceTracker, TrackSettings, crop_face, make_detector
from anchor.media import FrameReader, probe, read_audio
from anchor.ops.jpeg import encode_rgb
from anchor.ops.mel import log_mel, mel_config_hash
from anchor.preprocess.segments import Segment, cut_audio, cut_mel, plan_segments
from anchor.preprocess.sources import Source, read_truth
from anchor.shards import encode_clip
from anchor.timing import FPS, SAMPLES_PER_FRAME, num_frames

__all__ = ["ClipResult", "ClipSettings", "SegmentResult", "process_clip"]

HELD_BYTES = 384 * 2**20  # decoded frames kept until the face is known; a longer clip is decoded a second time
MIN_FACE_PX = 32  # a face less high than this has no lips to learn from
SILENCE_DB = -45.0  # a 40 ms frame below this level is silent, relative to full scale
THUMBNAIL_PX = 64


@dataclass(frozen=True)
class ClipSettings:
    """How every clip is processed."""

    image_size: int  # px, side of a crop
    detector: DetectorName
    detect_every: int  # frames
    max_frames: int  # of a segment
    min_frames: int
    min_segments: int = 1


@dataclass(frozen=True)
class SegmentResult:
    """One segment that was kept; its members lie in ``folder``, one file each."""

    key: str
    folder: Path
    start: int  # frame in the source
    num_frames: int


@dataclass
class ClipResult:
    """What became of one video."""

    source: str
    speaker: str
    is_kept: bool = False
    reason: str = ""  # why it was refused
    notes: list[str] = field(default_factory=list)
    segments: list[SegmentResult] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)  # size, rates, detector, hit rate, milliseconds per frame ...
    thumbnails: list[str] = field(default_factory=list)  # JPEGs as data URIs


def process_clip(source: Source, settings: ClipSettings, parts_dir: Path) -> ClipResult:
    """Write the segments of one video under ``parts_dir``; a video that cannot be used is refused with its reason."""
    result = ClipResult(source.name, source.speaker)
    try:
        _process(source, settings, parts_dir, result)
    except AnchorError as error:
        result.reason = str(error)
    except Exception as error:  # one clip must never end the others
        result.reason = f"{source.path}: {type(error).__name__}: {error}. Please report this clip."
    result.is_kept = bool(result.segments)
    return result


def _process(source: Source, settings: ClipSettings, parts_dir: Path, result: ClipResult) -> None:
    clock = _Clock()
    truth = read_truth(source)
    result.speaker = str(truth.get("speaker", source.speaker))
    info = probe(source.path)
    samples = read_audio(source.path)
    mel_SM = log_mel(samples)
    clock.mark("sound")
    detector = _detector(settings.detector)
    frames = _Frames(FrameReader(source.path, info, threads=1))
    tracker = FaceTracker(detector, TrackSettings(stride=settings.detect_every))
    for index, frame in frames:
        tracker.add(index, frame)
    clock.mark("decode_and_detect")
    total = min(frames.reader.num_frames, num_frames(len(samples)))
    track = tracker.result(total)
    result.facts = {
        "width": info.width, "height": info.height, "fps": round(info.fps, 3), "codec": info.codec,
        "seconds": round(total / FPS, 2), "offset_of_picture_s": round(info.offset_s, 4),
        "reader": frames.reader.backend, "detector": detector.name, "hit_rate": round(track.hit_rate, 3),
    }  # fmt: skip
    if frames.reader.reason:
        result.notes.append(f"PyAV read it, decord could not: {frames.reader.reason}")
    segments = _usable_segments(source, settings, track, total)
    heights = track.boxes[track.ids >= 0][:, 3] - track.boxes[track.ids >= 0][:, 1]
    result.facts["face_px"] = round(float(np.median(heights)))
    if result.facts["face_px"] < MIN_FACE_PX:
        raise FaceError(
            f"{source.path}: the face is {result.facts['face_px']} px high, lips need {MIN_FACE_PX}. "
            "Use a closer or a larger picture."
        )
    jpegs = _encode_crops(frames, track, segments, settings.image_size, result)
    clock.mark("crop_and_encode")
    for segment in segments:
        audio = cut_audio(samples, segment)
        boxes = track.boxes[segment.start : segment.stop]
        key = f"{source.key}_{segment.start:06d}"
        meta = {
            "key": key, "speaker": result.speaker, "fps": FPS, "num_frames": segment.num_frames,
            "image_size": settings.image_size, "source": source.name, "start_s": segment.start / FPS,
            "boxes": np.round(boxes, 2).tolist(), "detector": detector.name, "mel_config_hash": mel_config_hash(),
            "offset_ms": 0.0, "silence_share": round(_silence_share(audio), 3),
        }  # fmt: skip
        if truth:
            meta["truth"] = _cut_truth(truth, segment)
        members = encode_clip(
            [jpegs.pop(i) for i in range(segment.start, segment.stop)], cut_mel(mel_SM, segment), audio, meta
        )
        folder = parts_dir / key
        folder.mkdir(parents=True)
        for name, data in members.items():
            (folder / name).write_bytes(data)
        result.segments.append(SegmentResult(key, folder, segment.start, segment.num_frames))
    clock.mark("write")
    kept = sum(segment.num_frames for segment in segments)
    result.facts |= {"frames": kept, "silence_share": round(_silence_share(samples), 3)}
    result.facts["ms_per_frame"] = {name: round(1e3 * spent / max(1, total), 2) for name, spent in clock.spent.items()}


def _usable_segments(source: Source, settings: ClipSettings, track: FaceTrack, total: int) -> list[Segment]:
    if total < settings.min_frames:
        raise MediaError(
            f"{source.path}: picture and sound last {total} frames together, a segment needs {settings.min_frames}. "
            "Use a longer clip, or lower min_s."
        )
    segments = plan_segments(track.ids, settings.max_frames, settings.min_frames, settings.min_segments)
    if not segments:
        with_face = int((track.ids >= 0).sum())
        what = (
            f"a face in {with_face} of {total} frames, never {settings.min_frames} in a row" if with_face else "no face"
        )
        raise FaceError(
            f"{source.path}: {what}. Use a clip that shows one person from the front, or another detector=."
        )
    return segments


def _encode_crops(
    frames: _Frames, track: FaceTrack, segments: list[Segment], image_size: int, result: ClipResult
) -> dict[int, bytes]:
    """The JPEG of every frame of every segment; JPEGs are small enough to hold."""
    wanted = {i for segment in segments for i in range(segment.start, segment.stop)}
    ordered = sorted(wanted)
    shown = {ordered[len(ordered) * share // 8] for share in (1, 4, 7)}
    jpegs: dict[int, bytes] = {}
    for index, frame in frames:
        if index in wanted:
            crop = crop_face(frame, track.boxes[index], image_size)
            jpegs[index] = encode_rgb(crop)
            if index in shown:
                small = cv2.resize(crop, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
                data = base64.b64encode(encode_rgb(small, quality=80)).decode()
                result.thumbnails.append(f"data:image/jpeg;base64,{data}")
    missing = wanted - jpegs.keys()
    if missing:
        raise MediaError(
            f"frame {min(missing)} of {result.source} could be read once but not again. Copy the clip again."
        )
    return jpegs


class _Frames:
    """The frames of a clip, for two passes: held where they are few, decoded again where they are many."""

    def __init__(self, reader: FrameReader) -> None:
        self.reader = reader
        self._held: list[tuple[int, np.ndarray]] | None = None

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        if self._held is not None:
            yield from self._held
            return
        held: list[tuple[int, np.ndarray]] | None = []
        size = 0
        for pair in self.reader:
            size += pair[1].nbytes
            if size > HELD_BYTES:
                held = None
            if held is not None:
                held.append(pair)
            yield pair
        self._held = held


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


def _silence_share(samples: np.ndarray) -> float:
    whole = samples[: len(samples) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME].reshape(-1, SAMPLES_PER_FRAME)
    if not len(whole):
        return 1.0
    level_db = 10 * np.log10(np.maximum((whole**2).mean(1), 1e-12))
    return float((level_db < SILENCE_DB).mean())


def _cut_truth(truth: dict[str, Any], segment: Segment) -> dict[str, Any]:
    """The part of the truth that belongs to ``segment``, at 25 fps and with times from its start.

    Lists with one entry per frame are cut and, where the clip was rendered at another rate, resampled as the pictures
    are; "phonemes" ([name, seconds]) are moved; the rest is kept.
    """
    rate, count = float(truth.get("fps", FPS)), len(truth.get("opening", ()))
    numbers = np.floor((np.arange(segment.start, segment.stop) + 0.5) * rate / FPS + 1e-6).astype(int)
    numbers = np.clip(numbers, 0, max(0, count - 1))
    start_s, stop_s = segment.start / FPS, segment.stop / FPS
    cut: dict[str, Any] = {}
    for name, value in truth.items():
        if name == "phonemes":
            cut[name] = [[sound, round(at - start_s, 4)] for sound, at in value if start_s <= at < stop_s]
        elif isinstance(value, list) and len(value) == count > 0:
            cut[name] = [value[number] for number in numbers]
        elif name not in ("num_frames", "cut_frames"):  # these count frames of the whole clip
            cut[name] = value
    return {**cut, "fps": FPS} if "fps" in cut else cut

"""One video in, its segments out: frames, faces, crops, speech."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from anchor.errors import AnchorError
from anchor.faces import FaceDetector, TrackSettings, make_detector
from anchor.files import printable
from anchor.media import FrameReader, probe, read_audio
from anchor.preprocess.cards import own_card
from anchor.preprocess.cleaning.fingerprint import Fingerprint, PictureCodes, code_sound
from anchor.preprocess.cleaning.limits import MIN_CONTRAST
from anchor.preprocess.crops import cut_crops
from anchor.preprocess.finding import FaceFinder
from anchor.preprocess.frames import ClipFrames
from anchor.preprocess.people import face_height, find_people
from anchor.preprocess.results import ClipResult
from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.sound import mel_in_pieces, silence_share
from anchor.preprocess.sources import Source, read_truth
from anchor.preprocess.speaking import keep_speaking
from anchor.preprocess.spool import WriteError
from anchor.preprocess.timing_check import FaceTiming, measure_face, settle_offset
from anchor.preprocess.writing import SegmentWriter, count_left_out
from anchor.timing import FPS, SAMPLE_RATE, num_frames

__all__ = ["MIN_CONTRAST", "load_detector", "process_clip"]


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
    result.reason, result.notes = printable(result.reason), [printable(note) for note in result.notes]
    result.is_kept = result.may_be_kept
    return result


def _process(source: Source, settings: ClipSettings, folder: Path, result: ClipResult) -> None:
    clock = _Clock()
    truth = read_truth(source)
    result.speaker = str(truth.get("speaker", source.speaker))
    info = probe(source.path)
    samples = read_audio(source.path)
    mel_SM = mel_in_pieces(samples)
    clock.mark("sound")
    frames = ClipFrames(_open(source, info, settings))
    finder = FaceFinder(load_detector(settings), TrackSettings(stride=settings.detect_every), settings.shots == "on")
    pictures = PictureCodes()
    for index, frame in frames:
        finder.add(index, frame)
        pictures.add(index, frame)
    clock.mark("decode_and_detect")
    reader = frames.reader
    total = min(reader.num_frames, num_frames(len(samples)))
    result.fingerprint = Fingerprint(code_sound(mel_SM, total), pictures.codes(), pictures.first).to_text()
    result.facts = {
        "width": info.width, "height": info.height, "fps": round(info.fps, 3), "codec": info.codec,
        "seconds": round(total / FPS, 2), "offset_of_picture_s": round(info.offset_s, 4),
        "detector": load_detector(settings).name, "reader": reader.backend,
        "sound_s": round(len(samples) / SAMPLE_RATE, 3), "first_frame": reader.first_frame,
        "picture_frames": reader.num_frames - reader.first_frame, "mel_steps": len(mel_SM),
    }  # fmt: skip
    if reader.reason:
        result.notes.append(f"PyAV read it, decord could not: {reader.reason}")
    people, notes = find_people(finder, total, settings, str(source.path))
    result.facts["cuts"] = [cut for cut in finder.cuts if cut < total]
    del finder
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
            people = keep_speaking([(own.person, own.motion) for own in crops], samples, result)
        cuts = result.facts["cuts"]
        mouths = {own.person.number: own.mouth for own in crops}
        timing = settle_offset(
            {
                person.number: FaceTiming() if mouth is None else measure_face(mouth, mel_SM, cuts)
                for person in people
                for mouth in (mouths[person.number],)
            },
            samples, total, settings,
        )  # fmt: skip
        result.facts["offset"] = timing.facts()
        if timing.corrected_ms:
            mel_SM = mel_in_pieces(timing.samples_L)
        clock.mark("timing")
        SegmentWriter(source, settings, folder, result, timing, mel_SM, truth).write(people, crops)
    finally:
        for own in crops:
            own.spool.remove()
    clock.mark("write")
    if not result.may_be_kept:
        result.reason = count_left_out(result.segments, str(source.path))
    result.facts["frames"] = sum(segment.num_frames for segment in result.segments if segment.num_bytes)
    result.facts["ms_per_frame"] = {name: round(1e3 * spent / max(1, total), 2) for name, spent in clock.spent.items()}


def _open(source: Source, info: Any, settings: ClipSettings) -> FrameReader:
    options: dict[str, Any] = {}
    if settings.decoder != "auto":
        options["backend"] = settings.decoder
    if settings.ffmpeg_args:
        options["ffmpeg_args"] = settings.ffmpeg_args
    return FrameReader(source.path, info, threads=1, **options)


class _Clock:
    """Seconds per step."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, name: str) -> None:
        """The step that just ended."""
        now = time.perf_counter()
        self.spent[name], self._last = now - self._last, now


_DETECTORS: dict[tuple[str, str], FaceDetector] = {}  # one per process: loading a model costs more than a short clip


def load_detector(settings: ClipSettings) -> FaceDetector:
    """The detector of ``settings``, on the card of this worker where it asks for one; loaded once per process."""
    key = settings.detector, settings.faces_device
    if key not in _DETECTORS:
        is_on_cpu = settings.faces_device == "cpu" or (settings.faces_device == "auto" and settings.detector == "haar")
        options: dict[str, Any] = {} if is_on_cpu else {"device": own_card(settings.faces_device)}
        _DETECTORS[key] = make_detector(settings.detector, **options)
    return _DETECTORS[key]

"""`anchor import ultralight`: whole pictures of one person, landmarks and a wav, as Ultralight's tools leave them.

Shape suffixes: T frames at 25 fps, N points, 4 a box's corners.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from anchor.errors import ConfigError, MediaError
from anchor.timing import FPS, SAMPLE_RATE

if TYPE_CHECKING:
    from anchor.faces.track import FaceTrack
    from anchor.imports.gather import ForeignClip, Outcome

__all__ = ["import_ultralight"]

RATES = (25, 20)  # fps: where HuBERT's features were taken, and where WeNet's were
RATE_SLACK = 0.03  # how far pictures and sound may be apart, as a share
MAX_LMS_BYTES = 64 * 2**10
MIN_POINTS, MAX_POINTS = 68, 1000


def import_ultralight(
    *,
    source: Path,
    out: Path,
    image_size: int = 96,
    boxes: Literal["detected", "landmarks"] = "detected",
    detector: Literal["auto", "insightface", "yunet", "haar"] = "auto",
    fps: Literal["auto", "25", "20"] = "auto",
    val_share: float = 0.1,
    seed: int = 0,
) -> None:
    """An Ultralight-style folder of one person, or a folder of such folders, as a set of shards.

    source: PERSON/ with full_body_img/0.jpg, 1.jpg, ..., landmarks/0.lms, ... (a point a line, x and y in px) and
    aud.wav; or the folder above several of them. image_size: side of our crops in px.
    boxes: detected finds the faces anew, the way `anchor infer` will; landmarks takes the outline of the points, and a
    picture without points shows no face. fps: of the pictures; auto sees it from the length of the sound. Pictures at
    20 fps are shown at 25, every fourth of them twice.

    The stored features of speech (aud_hu.npy, aud_wenet.npy) are not read: every network here hears mels of aud.wav.
    """
    from anchor.imports.gather import check_options, gather

    source, out = Path(source), Path(out)
    check_options(out, image_size, val_share)
    people = [source] if (source / "full_body_img").is_dir() else sorted(source.glob("*/full_body_img"))
    people = [path.parent if path.name == "full_body_img" else path for path in people]
    if not people:
        raise ConfigError(f"source={source} holds no full_body_img/. Give a person's folder, or the one above several.")
    gather(_clips(people, source, image_size, boxes, detector, fps), out, image_size, val_share, seed, "ultralight")


def _clips(
    people: list[Path], source: Path, image_size: int, boxes: str, detector: str, fps: str
) -> Iterator[ForeignClip | Outcome]:
    from anchor.faces import make_detector
    from anchor.imports.gather import Outcome

    finder = make_detector(detector) if boxes == "detected" else None  # type: ignore[arg-type]
    for folder in people:
        name = folder.resolve().name
        try:
            yield _clip(folder, name, source, image_size, finder, fps)
        except (MediaError, OSError) as error:
            yield Outcome(name, name, str(error))


def _clip(folder: Path, name: str, source: Path, image_size: int, finder: object | None, fps: str) -> ForeignClip:
    from anchor.faces import crop_face
    from anchor.imports.gather import ForeignClip
    from anchor.imports.pictures import numbered, read_jpeg, read_wav

    files = numbered(folder / "full_body_img")
    if not files:
        raise MediaError(f"{name}: full_body_img/ holds no 0.jpg, 1.jpg, ... .")
    samples, stored_rate = read_wav(folder / "aud.wav", source)
    count = max(files) + 1
    rate = picture_rate(name, count, len(samples) / SAMPLE_RATE, fps)
    track = _detected(files, count, source, finder) if finder is not None else _marked(folder, files, count, source)
    shown_T = shown_at(count, rate)
    has_frame_T = np.isin(shown_T, list(files)) & (track.ids[shown_T] >= 0)
    notes = [] if rate == FPS else [f"{name}: its pictures have {rate} fps; every fourth is shown twice at {FPS}."]
    return ForeignClip(
        name, name, has_frame_T, lambda: (samples, stored_rate),
        lambda number: crop_face(
            read_jpeg(files[int(shown_T[number])], source), track.boxes[int(shown_T[number])], image_size
        ),
        notes=notes,
    )  # fmt: skip


def picture_rate(name: str, count: int, seconds: float, asked: str = "auto") -> int:
    """25 or 20: the rate at which ``count`` pictures last as long as the sound, or the one that was ``asked`` for.

    Raises:
        MediaError: neither does.
    """
    if asked != "auto":
        return int(asked)
    rate = min(RATES, key=lambda rate: abs(count / rate - seconds))
    if abs(count / rate - seconds) <= max(0.5, RATE_SLACK * seconds):
        return rate
    raise MediaError(
        f"{name}: {count} pictures and {seconds:.2f} s of sound fit neither 25 nor 20 fps. Mend the one that was cut "
        "off, or say fps=25 or fps=20."
    )


def shown_at(count: int, rate: int) -> np.ndarray:
    """int64 (T,): which of ``count`` pictures at ``rate`` fps is shown in the middle of each frame at 25 fps."""
    frames = int(count * FPS / rate)
    return ((np.arange(frames) + 0.5) * rate / FPS).astype(np.int64)


def read_points(path: Path, source: Path) -> np.ndarray | None:
    """float32 (N, 2) of one ``.lms``; None where it names no points, as for a picture without a face.

    Raises:
        MediaError: it is no list of points, or a link that leads out of ``source``.
    """
    from anchor.imports.pictures import inside

    if not path.exists():
        return None
    if not inside(path, source) or not path.is_file() or path.stat().st_size > MAX_LMS_BYTES:
        raise MediaError(f"{path} leads out of {source}, or is too large for points of one face. Copy the file itself.")
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    if not rows:
        return None
    try:
        points_N2 = np.array([[float(word) for word in row] for row in rows], np.float32)
    except ValueError:
        points_N2 = np.zeros((0, 0), np.float32)
    if points_N2.ndim != 2 or points_N2.shape[1] != 2 or not MIN_POINTS <= len(points_N2) <= MAX_POINTS:
        raise MediaError(f"{path}: {len(rows)} lines, and {MIN_POINTS} or more points are awaited, x and y in a line.")
    return points_N2 if np.isfinite(points_N2).all() else None


def outline_box(points_N2: np.ndarray) -> np.ndarray:
    """float32 (4,): the canonical box (`anchor.faces`), as wide as the points and down to the lowest, the chin.

    Points run from ear to ear, and the box is as wide as the face.
    """
    from anchor.faces.face import ASPECT, canonical_box

    (left, _), (right, chin) = points_N2.min(0), points_N2.max(0)
    return canonical_box((left + right) / 2, chin, (right - left) / ASPECT)


def _detected(files: dict[int, Path], count: int, source: Path, finder: object) -> FaceTrack:
    from anchor.faces import FaceTracker
    from anchor.imports.pictures import read_jpeg

    tracker = FaceTracker(finder)  # type: ignore[arg-type]
    for number in sorted(files):
        tracker.add(number, read_jpeg(files[number], source))
    return tracker.result(count)


def _marked(folder: Path, files: dict[int, Path], count: int, source: Path) -> FaceTrack:
    from anchor.faces.face import Face
    from anchor.faces.track import track_faces

    found = {}
    for number in sorted(files):
        points_N2 = read_points(folder / "landmarks" / f"{number}.lms", source)
        is_face = points_N2 is not None and bool((np.ptp(points_N2, axis=0) >= 8).all())  # px
        found[number] = [Face(outline_box(points_N2), 1.0)] if points_N2 is not None and is_face else []
    track = track_faces(found, count)
    track.ids[[number for number in range(count) if not found.get(number)]] = -1  # a gap that was filled in, too
    return track

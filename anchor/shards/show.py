"""`anchor shards show`: the clips of a set, or one of them to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anchor.errors import ConfigError

if TYPE_CHECKING:
    from anchor.batch import ClipEntry
    from anchor.shards.reader import ShardSet

__all__ = ["show"]

COLUMNS, ROWS = 8, 4  # frames of a sheet
SPEECH_PX = 80  # height of the strip of speech, one pixel per mel bin
LABEL_PX = 12
SUFFIXES = (".png", ".jpg", ".mp4")


def show(path: str, *, key: str | None = None, out: Path | None = None) -> None:
    """List the clips of a set, or describe one and draw it.

    path: a folder, or an address such as s3://bucket/set. key: the clip to describe. out: a file for it: .png or .jpg
    holds frames spread over the clip above its speech, .mp4 the whole clip with its sound.

    Raises:
        ConfigError: no clip has this key, or ``out`` is no such file.
        ShardError: the set is unusable, or the clip is damaged.
    """
    from anchor.arguments import nearest
    from anchor.shards.reader import ShardSet
    from anchor.timing import FPS

    if out is not None and (key is None or out.suffix.lower() not in SUFFIXES):
        what = "needs key=, the clip to draw" if key is None else f"is none of {', '.join(SUFFIXES)}"
        raise ConfigError(f"out={out} {what}.")
    source = ShardSet(path, any_mel=True)
    if key is None:
        print(f"{'key':<40} {'speaker':<24} {'split':<6} {'frames':>7} {'seconds':>8}  shard")
        for clip, shard in zip(source.clips, source.clips.shard_numbers.tolist(), strict=True):
            name = source.manifest["shards"][shard]["name"]
            seconds = clip.num_frames / FPS
            print(f"{clip.key:<40} {clip.speaker:<24} {clip.split:<6} {clip.num_frames:>7} {seconds:>8.2f}  {name}")
        return
    number = source.clips.find(key)
    if number is None:
        raise ConfigError(
            f"{source.url} has no clip {key!r}.{nearest(key, source.clips.keys())} "
            f"`anchor shards show {source.url}` lists all."
        )
    clip = source.clips[number]
    print(f"{clip.key}: {clip.speaker}, {clip.split}, {clip.num_frames} frames, {clip.num_frames / FPS:.2f} s")
    for name, value in source.read_meta(clip).items():
        print(f"  {name}: {_brief(value)}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix.lower() == ".mp4":
            _write_video(source, clip, out)
        else:
            import cv2

            _, data = cv2.imencode(out.suffix.lower(), _draw_sheet(source, clip)[..., ::-1])
            out.write_bytes(data.tobytes())
        print(f"wrote {out}")


def _brief(value: Any) -> str:
    """``value`` on one line; of a long list only its length and begin."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= 100:
        return text
    return f"{len(value)} of them, {text[:72]} ..." if isinstance(value, list) else f"{text[:88]} ..."


def _draw_sheet(source: ShardSet, clip: ClipEntry) -> np.ndarray:
    """uint8 RGB: frames spread over the clip, each with its number, and the log-mel of the clip below."""
    import cv2

    from anchor.timing import MEL_FLOOR

    count = min(clip.num_frames, COLUMNS * ROWS)
    numbers = np.linspace(0, clip.num_frames - 1, count).round().astype(int).tolist()
    pictures = source.read_frames(clip, numbers)
    size = max(96, min(160, source.image_size))
    columns, rows = min(count, COLUMNS), -(-count // COLUMNS)
    sheet = np.zeros((rows * (size + LABEL_PX) + SPEECH_PX, columns * size, 3), np.uint8)
    for place, (number, picture) in enumerate(zip(numbers, pictures, strict=True)):
        top, left = place // columns * (size + LABEL_PX), place % columns * size
        small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        sheet[top + LABEL_PX : top + LABEL_PX + size, left : left + size] = small
        cv2.putText(sheet, str(number), (left + 2, top + 10), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255))
    mel = source.read_mel(clip)
    grey = np.clip((mel.T[::-1] - MEL_FLOOR) / (-2 * MEL_FLOOR) * 255, 0, 255).astype(np.uint8)
    strip = cv2.resize(grey, (sheet.shape[1], SPEECH_PX), interpolation=cv2.INTER_AREA)
    sheet[-SPEECH_PX:] = strip[..., None]
    return sheet


def _write_video(source: ShardSet, clip: ClipEntry, out: Path) -> None:
    """An mp4 that every player shows: H.264 4:2:0 and AAC."""
    from fractions import Fraction

    import av

    from anchor.shards.jpegs import MAX_RUN
    from anchor.timing import FPS, SAMPLE_RATE

    samples = np.clip(source.read_audio(clip), -1, 1).astype(np.float32)
    side = source.image_size // 2 * 2
    with av.open(str(out), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "16", "bf": "0"})
        video.width = video.height = side
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for first in range(0, clip.num_frames, MAX_RUN):
            for picture in source.read_frames(clip, range(first, min(first + MAX_RUN, clip.num_frames))):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:side, :side]), format="rgb24")
                container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))

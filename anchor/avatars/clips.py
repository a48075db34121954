"""Write one clip of an avatar: its pictures, its mouth at rest, and the table of its faces.

Shape suffixes: T pictures of the clip, K numbers of a small picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from anchor.avatars.faces import FaceTable, measure_faces, write_faces
from anchor.avatars.pictures import ClipPictures
from anchor.avatars.plan import Stretch
from anchor.avatars.source import Source, fit_picture, small_picture
from anchor.inference.draw import draw_frames
from anchor.inference.paste import paste_mouth
from anchor.inference.progress import show_progress
from anchor.media.writer import write_video
from anchor.ops.references import lay_references
from anchor.timing import FPS, MEL_FLOOR, NUM_MELS, WINDOW_MEL_STEPS

__all__ = ["BuiltClip", "write_clip"]

CRF = 16  # of pictures that are coded once more before anybody sees them
BATCH = 16


@dataclass(frozen=True)
class BuiltClip:
    """A clip that was written."""

    stretch: Stretch
    num_frames: int
    has_rest: bool
    looks_TK: np.ndarray  # float32, every picture in small
    enter: int
    leave: int

    def facts(self) -> dict[str, Any]:
        """Its entry in avatar.json."""
        one = self.stretch
        return {
            "kind": one.kind,
            "frames": self.num_frames,
            "in": one.first - one.start,
            "out": one.last - one.start,
            "loop": one.loop,
            "mouth": "drawn" if self.has_rest else "original",
            "enter": self.enter,
            "leave": self.leave,
            "source_s": [round(one.start / FPS, 2), round(one.stop / FPS, 2)],
        }


def write_clip(
    source: Source,
    stretch: Stretch,
    folder: Path,
    size: tuple[int, int],
    net: nn.Module,
    draws_rest: bool,
    idle_looks_TK: np.ndarray | None,
) -> BuiltClip:
    """Write ``clips/NAME.*`` into ``folder``.

    Boxes come from the source, all else is measured on the pictures as they are stored: what is pasted later then fits
    to the bit.
    """
    path = folder / "clips" / f"{stretch.name}.mp4"
    count = stretch.stop - stretch.start
    numbers = show_progress(range(stretch.start, stretch.stop), count, f"clip {stretch.name}")
    write_video(path, (fit_picture(source.pictures[number], size) for number in numbers), crf=CRF, is_intra=True)
    pictures = ClipPictures(path, count, size)
    old_height, old_width = source.pictures[stretch.start].shape[:2]
    scale_4 = np.array([size[0] / old_width, size[1] / old_height] * 2, np.float32)
    part = slice(stretch.start, stretch.stop)
    boxes_T4, num_references = source.track.boxes[part] * scale_4, int(getattr(net, "num_references", 1))
    table = measure_faces(pictures, boxes_T4, source.track.ids[part], net.image_size, num_references)  # type: ignore[arg-type]
    write_faces(path.with_suffix(".safetensors"), table)
    if draws_rest:
        rested = show_progress(_rest(pictures, table, net), count, f"clip {stretch.name}, mouth at rest")
        write_video(path.with_suffix(".rest.mp4"), rested, crf=CRF, is_intra=True)
    looks_TK = np.stack([small_picture(pictures[number]) for number in range(count)])
    pictures.close()
    idle_TK = looks_TK if idle_looks_TK is None else idle_looks_TK
    first, last = stretch.first - stretch.start, stretch.last - stretch.start - 1
    enter, leave = (int(np.abs(idle_TK - looks_TK[number]).mean(1).argmin()) for number in (first, last))
    return BuiltClip(stretch, count, draws_rest, looks_TK, enter, leave)


def _rest(pictures: ClipPictures, table: FaceTable, net: nn.Module) -> Iterator[np.ndarray]:
    """The pictures with the mouth that the network draws for silence."""
    silence_SM = np.full((WINDOW_MEL_STEPS, NUM_MELS), MEL_FLOOR, np.float32)
    for begin in range(0, len(pictures), BATCH):
        numbers = range(begin, min(begin + BATCH, len(pictures)))
        crops = table.crops[numbers.start : numbers.stop]
        references = lay_references(table.crops, table.references[numbers.start : numbers.stop])
        drawn = draw_frames(net, crops, references, silence_SM, [2] * len(numbers), BATCH)
        for place, number in enumerate(numbers):
            picture, presence = pictures[number], float(table.presence[number])
            yield (
                paste_mouth(picture, table.boxes[number], drawn[place], crops[place], presence) if presence else picture
            )

"""Draw the frames of some footage with the mouths of a speech.

Shape suffixes: N frames of a batch, S side of the crops in pixels, C colour (RGB), T source frames, M mel bins;
mel_SM: S mel steps.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import nn

from anchor.faces import FaceTrack, crop_face
from anchor.inference.draw import draw_frames
from anchor.inference.fade import face_presence
from anchor.inference.order import ReferenceKind, back_and_forth, choose_references
from anchor.inference.paste import paste_mouth
from anchor.inference.stopwatch import Stopwatch
from anchor.inference.store import FrameStore
from anchor.ops.references import EVERY, mouth_vector, pose_vector

__all__ = ["FADE_FRAMES", "Dubber", "Pictures", "Shown"]

FADE_FRAMES = 4  # 0.16 s: long enough not to pop, short enough that few words are lost
CROP_BYTES = 32 * 2**20  # of crops kept, 400 of 168 px, and as much again of references; more references go to disk
BATCH_BYTES = 64 * 2**20  # of whole pictures held at once: 2 of 4K, 10 of 1080p


class Pictures(Protocol):
    """Pictures by number, uint8 RGB (H, W, 3)."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Shown:
    """One output frame: which picture it starts from, what it says, and how much of the drawn mouth it shows."""

    source: int
    frame: int
    presence: float  # 0: the picture as it came, 1: its mouth drawn


class Dubber:
    """Draw the pictures of ``store`` with the mouths of a speech.

    Args:
        generator: in eval mode, on its device.
        store, track: pictures and boxes of one person, of equal length.
        reference: see :func:`anchor.inference.order.choose_references`.
        batch_size: frames computed at once, fewer where so many pictures would not fit into ``BATCH_BYTES``.
        fade: frames over which a mouth appears or goes where the face comes or leaves.
        watch: books the time of each part.
    """

    def __init__(
        self,
        generator: nn.Module,
        store: Pictures,
        track: FaceTrack,
        *,
        reference: ReferenceKind = "nearest",
        batch_size: int = 16,
        fade: int = FADE_FRAMES,
        watch: Stopwatch | None = None,
    ) -> None:
        assert len(store) == len(track.ids), "one box a frame"
        self.generator, self.store, self.track, self.batch_size = generator, store, track, batch_size
        self.reference: ReferenceKind = reference
        self.num_references = int(getattr(generator, "num_references", 1))
        self.references_TR = np.full((len(track.ids), self.num_references), -1)  # chosen when it is known what is shown
        self.presence_T = face_presence(track.ids, fade)
        self.num_kept = 0  # frames that went out as they came in, for want of a face
        self.watch = watch or Stopwatch()
        self._crops: OrderedDict[int, np.ndarray] = OrderedDict()
        self._references, self._reference_places = FrameStore(CROP_BYTES), dict[int, int]()

    def plan(self, num_out: int) -> list[Shown]:
        """What each of ``num_out`` frames is made of."""
        order = back_and_forth(num_out, len(self.store))
        return [Shown(int(source), frame, float(self.presence_T[source])) for frame, source in enumerate(order)]

    def frames(self, mel_SM: np.ndarray, num_out: int) -> Generator[np.ndarray, None, None]:
        """``num_out`` frames, uint8 RGB (H, W, 3): frame ``i`` shows what is heard from ``i / 25`` s on.

        Frames without a face are the very pictures of the store: look, and do not paint on them.
        """
        self.num_kept = 0
        plan = self.plan(num_out)
        self._collect_references([shown.source for shown in plan])
        size = min(self.batch_size, max(1, BATCH_BYTES // self.store[plan[0].source].nbytes))
        for begin in range(0, num_out, size):
            yield from self._draw(plan[begin : begin + size], mel_SM)

    def _draw(self, batch: list[Shown], mel_SM: np.ndarray) -> list[np.ndarray]:
        pictures = [self.store[shown.source] for shown in batch]
        speaking = [i for i, shown in enumerate(batch) if shown.presence > 0]
        self.num_kept += len(batch) - len(speaking)
        if not speaking:
            return pictures
        with self.watch.part("draw"):
            crops_NSSC = np.stack([self._crop(batch[i].source, pictures[i]) for i in speaking])
            references_NSSC = np.stack([self._references_of(batch[i].source, pictures[i]) for i in speaking])
            frames = [batch[i].frame for i in speaking]
            drawn_NSSC = draw_frames(self.generator, crops_NSSC, references_NSSC, mel_SM, frames, self.batch_size)
        with self.watch.part("paste"):
            for k, i in enumerate(speaking):
                box, presence = self.track.boxes[batch[i].source], batch[i].presence
                pictures[i] = paste_mouth(pictures[i], box, drawn_NSSC[k], crops_NSSC[k], presence)
        return pictures

    def _collect_references(self, sources: list[int]) -> None:
        """Choose and cut the references that ``sources`` need, in the order of the file: it is read forwards only."""
        ids_T = self.track.ids[: max(sources) + 1]
        looks = self._look(ids_T) if self.reference == "nearest" else ()
        self.references_TR = choose_references(self.reference, ids_T, *looks, count=self.num_references)
        needed = {int(number) for source in set(sources) for number in self.references_TR[source] if number != source}
        for number in sorted(needed - {-1} - set(self._reference_places)):
            self._keep(number, self._cut(number, self.store[number]))

    def _look(self, ids_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pose (T, P) and mouth (T, Q) of every face, zeros where there is none.

        What may become a reference is kept on the way.
        """
        nothing = np.zeros((8, 8, 3), np.uint8)
        poses, mouths = (np.zeros((len(ids_T), len(look(nothing))), np.float32) for look in (pose_vector, mouth_vector))
        seen = Counter[int]()
        for number in np.flatnonzero(ids_T >= 0).tolist():
            with self.watch.part("draw"):
                crop = self._cut(number, self.store[number])
                poses[number], mouths[number] = pose_vector(crop), mouth_vector(crop)
            if seen[int(ids_T[number])] % EVERY == 0:
                self._keep(number, crop)
            seen[int(ids_T[number])] += 1
        return poses, mouths

    def _keep(self, number: int, crop: np.ndarray) -> None:
        if number not in self._reference_places:
            self._reference_places[number] = len(self._references)
            self._references.append(crop)

    def _references_of(self, source: int, picture: np.ndarray) -> np.ndarray:
        """The references of source frame ``source``, one behind the other, uint8 (S, S, 3 R)."""
        places = [self._reference_places.get(int(number)) for number in self.references_TR[source]]
        own = self._crop(source, picture) if None in places else None
        return np.concatenate([own if place is None else self._references[place] for place in places], 2)  # type: ignore[misc]

    def _crop(self, number: int, picture: np.ndarray) -> np.ndarray:
        """The face of source frame ``number``, uint8 (S, S, 3); the most recent ones are remembered."""
        crop = self._crops.pop(number, None)
        if crop is None:
            place = self._reference_places.get(number)
            crop = self._cut(number, picture) if place is None else self._references[place]
        self._crops[number] = crop
        if len(self._crops) * crop.nbytes > CROP_BYTES:
            self._crops.popitem(last=False)
        return crop

    def _cut(self, number: int, picture: np.ndarray) -> np.ndarray:
        return crop_face(picture, self.track.boxes[number], self.generator.image_size)  # type: ignore[arg-type]

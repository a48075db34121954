"""`anchor infer`: a face and a speech become that person speaking it.

Shape suffixes: N frames of a batch, S side of the crops in pixels, C colour (RGB), T source frames, M mel bins;
mel_SM: S mel steps.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from anchor.device import resolve_device
from anchor.errors import MediaError
from anchor.faces import FaceTrack, crop_face, make_detector
from anchor.inference.draw import draw_frames
from anchor.inference.footage import FrameStore, read_footage
from anchor.inference.order import ReferenceKind, back_and_forth, choose_references
from anchor.inference.paste import paste_mouth
from anchor.inference.progress import show_progress
from anchor.media.audio import read_audio
from anchor.media.writer import write_video
from anchor.models import load_network
from anchor.ops.mel import log_mel
from anchor.timing import FPS, SAMPLES_PER_FRAME

__all__ = ["Dubber", "infer", "load_generator"]

SOUND_RATE = 48_000  # Hz of the sound track; the networks hear 16 kHz
CROP_BYTES = 256 * 2**20  # of crops kept: ping-pong and references ask for the same ones again


def infer(
    *,
    face: Path,
    speech: Path,
    checkpoint: Path,
    out: Path,
    device: Literal["auto", "mlu", "cuda", "cpu"] = "auto",
    detector: Literal["auto", "insightface", "yunet", "haar"] = "auto",
    reference: ReferenceKind = "fixed",
    batch_size: int = 16,
) -> None:
    """The person of a video or picture speaks a recording: an mp4 at 25 fps, as long as the speech.

    face: a video, or a picture, of one person. A video that is shorter than the speech runs back and forth.
    speech: anything with a sound track.
    checkpoint: what stage generator, finetune or quality left.
    reference: which frame tells how the person looks: fixed (one for all), shifted (half a clip away) or same.

    Frames without a face stay as they are. The file appears under its name when it is complete.
    """
    face, speech, out = Path(face), Path(speech), Path(out)
    _check_out(out, face, speech)
    if batch_size < 1:
        raise MediaError(f"batch_size={batch_size} draws nothing. Give 1 or more.")
    generator = load_generator(checkpoint, device)
    samples = read_audio(speech)
    num_out = -(-len(samples) // SAMPLES_PER_FRAME)  # the last frame may be begun, not missing
    store, track = read_footage(face, make_detector(detector), num_out)
    dubber = Dubber(generator, store, track, reference=reference, batch_size=batch_size)
    frames = show_progress(dubber.frames(log_mel(samples), num_out), num_out, f"dub {out.name}")
    write_video(out, frames, fps=FPS, audio=read_audio(speech, SOUND_RATE), sample_rate=SOUND_RATE)
    without = dubber.num_kept
    note = f", {without} frames without a face left as they were" if without else ""
    print(f"{out}: {num_out} frames, {num_out / FPS:.2f} s{note}")


def load_generator(checkpoint: Path, device: str = "auto") -> nn.Module:
    """The generator of ``checkpoint`` in eval mode on ``device``.

    Raises:
        CheckpointError: it is missing, damaged or holds no generator.
        DeviceError: the device is absent.
    """
    generator = load_network(checkpoint, "generator")
    return generator.to(resolve_device(device)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@dataclass(frozen=True)
class _Job:
    """One output frame: which picture it starts from, and what it says."""

    source: int
    frame: int


class Dubber:
    """Draw the frames of ``store`` with the mouths of a speech.

    Args:
        generator: in eval mode, on its device.
        store, track: pictures and boxes of one person, of equal length.
        reference: see :func:`anchor.inference.order.choose_references`.
        batch_size: frames computed at once; so many pictures are held beside the store.
    """

    def __init__(
        self,
        generator: nn.Module,
        store: FrameStore,
        track: FaceTrack,
        *,
        reference: ReferenceKind = "fixed",
        batch_size: int = 16,
    ) -> None:
        assert len(store) == len(track.ids), "one box a frame"
        self.generator, self.store, self.track, self.batch_size = generator, store, track, batch_size
        self.references_T = choose_references(reference, track.ids)
        self.num_kept = 0  # frames that went out as they came in, for want of a face
        self._crops: OrderedDict[int, np.ndarray] = OrderedDict()

    def frames(self, mel_SM: np.ndarray, num_out: int) -> Iterator[np.ndarray]:
        """``num_out`` frames, uint8 RGB (H, W, 3): frame ``i`` shows what is heard from ``i / 25`` s on."""
        self.num_kept = 0
        order = back_and_forth(num_out, len(self.store))
        for begin in range(0, num_out, self.batch_size):
            jobs = [_Job(int(order[i]), i) for i in range(begin, min(begin + self.batch_size, num_out))]
            yield from self._draw(jobs, mel_SM)

    def _draw(self, jobs: list[_Job], mel_SM: np.ndarray) -> Iterator[np.ndarray]:
        pictures = [self.store[job.source] for job in jobs]
        speaking = [i for i, job in enumerate(jobs) if self.references_T[job.source] >= 0]
        self.num_kept += len(jobs) - len(speaking)
        if speaking:
            crops_NSSC = np.stack([self._crop(jobs[i].source, pictures[i]) for i in speaking])
            references_NSSC = np.stack([self._crop(int(self.references_T[jobs[i].source])) for i in speaking])
            frames = [jobs[i].frame for i in speaking]
            drawn_NSSC = draw_frames(self.generator, crops_NSSC, references_NSSC, mel_SM, frames, self.batch_size)
            for k, i in enumerate(speaking):
                pictures[i] = paste_mouth(pictures[i], self.track.boxes[jobs[i].source], drawn_NSSC[k], crops_NSSC[k])
        yield from pictures

    def _crop(self, number: int, picture: np.ndarray | None = None) -> np.ndarray:
        """The face of source frame ``number``, uint8 (S, S, 3); the most recent ones are remembered."""
        crop = self._crops.pop(number, None)
        if crop is None:
            picture = self.store[number] if picture is None else picture
            crop = crop_face(picture, self.track.boxes[number], self.generator.image_size)  # type: ignore[arg-type]
        self._crops[number] = crop
        if len(self._crops) * crop.nbytes > CROP_BYTES:
            self._crops.popitem(last=False)
        return crop


def _check_out(out: Path, face: Path, speech: Path) -> None:
    if out.suffix.lower() != ".mp4":
        raise MediaError(f"out={out} is no mp4. Give a name that ends in .mp4.")
    if out.is_dir():
        raise MediaError(f"out={out} is a folder. Give the name of the video to write.")
    if out.exists() and any(path.exists() and out.samefile(path) for path in (face, speech)):
        raise MediaError(f"out={out} is also the input. Give another name; the input stays.")

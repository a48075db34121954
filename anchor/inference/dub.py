"""`anchor infer`: a face and a speech become that person speaking it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from anchor.device import resolve_device
from anchor.errors import ConfigError
from anchor.faces import make_detector
from anchor.inference.dubber import FADE_FRAMES, Dubber, Shown
from anchor.inference.folder import write_frames
from anchor.inference.footage import read_footage
from anchor.inference.heap import return_large_blocks
from anchor.inference.order import ReferenceKind
from anchor.inference.progress import show_progress
from anchor.inference.stopwatch import Stopwatch
from anchor.inference.target import OutputKind, check_target
from anchor.media.audio import read_audio
from anchor.media.writer import write_video
from anchor.models import WeightKind, load_network
from anchor.models.onnx_generator import OnnxGenerator
from anchor.ops.mel import log_mel
from anchor.ops.silence import SilenceKind, with_silence
from anchor.timing import FPS, SAMPLES_PER_FRAME

__all__ = ["Dubber", "infer", "load_generator"]

SOUND_RATE = 48_000  # Hz of the sound track; the networks hear 16 kHz


def infer(
    *,
    face: Path,
    speech: Path,
    checkpoint: Path,
    out: Path,
    output: OutputKind = "video",
    device: Literal["auto", "mlu", "cuda", "cpu"] = "auto",
    detector: Literal["auto", "insightface", "yunet", "haar"] = "auto",
    reference: ReferenceKind = "nearest",
    silence: SilenceKind = "close",
    fade: int = FADE_FRAMES,
    batch_size: int = 16,
    weights: WeightKind = "auto",
) -> None:
    """The person of a video or picture speaks a recording: 25 frames per second, as long as the speech.

    face: a video, or a picture, of one person. A video that is shorter than the speech runs back and forth.
    speech: anything with a sound track.
    checkpoint: what stage generator, finetune or quality left.
    out: the video to write (.mp4), or with output=frames a folder for PNGs, speech.wav and frames.json.
    reference: which frame tells how the person looks: nearest (in pose), fixed (one for all), shifted (half a clip
    away) or same.
    silence: close (in pauses of 0.3 s and more the network hears nothing at all, so that the mouth closes), or heard
    (what is recorded there: a room, a breath).
    weights: of the checkpoint: ema (averaged), raw, or auto: averaged where it has them.
    fade: frames over which the mouth is blended in and out where the face comes or goes.

    Frames without a face stay as they are. A video appears under its name when it is complete; frames stay when they
    are there.
    """
    face, speech, out = Path(face), Path(speech), Path(out)
    check_target(out, output, [face, speech])
    for key, value, least in (("batch_size", batch_size, 1), ("fade", fade, 0)):
        if value < least:
            raise ConfigError(f"{key}={value} makes no sense. Give {least} or more.")
    return_large_blocks()
    samples = read_audio(speech)
    generator = load_generator(checkpoint, device, weights)
    num_out = -(-len(samples) // SAMPLES_PER_FRAME)  # the last frame may be begun, not missing
    watch = Stopwatch()
    footage, track = read_footage(face, make_detector(detector), num_out, watch=watch)
    dubber = Dubber(generator, footage, track, reference=reference, batch_size=batch_size, fade=fade, watch=watch)
    with contextlib.closing(dubber.frames(with_silence(log_mel(samples), silence), num_out)) as drawn:
        frames = show_progress(drawn, num_out, f"dub {out.name}")
        sound = read_audio(speech, SOUND_RATE)
        with watch.part("encode"):
            if output == "frames":
                record = {"face": str(face), "size": list(footage[0].shape[1::-1])}
                shown = [_describe(one, dubber) for one in dubber.plan(num_out)]
                write_frames(out, frames, FPS, sound, SOUND_RATE, record, shown)
            else:
                write_video(out, frames, fps=FPS, audio=sound, sample_rate=SOUND_RATE)
    kept = f", {dubber.num_kept} frames without a face left as they were" if dubber.num_kept else ""
    print(f"{out}: {num_out} frames, {num_out / FPS:.2f} s{kept}; {num_out / watch.total:.1f} frames/s ({watch})")


def load_generator(checkpoint: Path, device: str = "auto", weights: WeightKind = "auto") -> nn.Module:
    """The generator of ``checkpoint`` in eval mode on ``device``.

    ``checkpoint`` is what a stage left, a folder that `anchor export` wrote, or the ``model.onnx`` of one.

    Raises:
        CheckpointError: it is missing, damaged or holds no generator.
        DeviceError: the device is absent, or is a card and the file is ONNX.
    """
    if Path(checkpoint).suffix == ".onnx":
        return OnnxGenerator(checkpoint, device).eval()
    generator = load_network(checkpoint, "generator", weights)
    return generator.to(resolve_device(device)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _describe(shown: Shown, dubber: Dubber) -> dict[str, Any]:
    """A frame's entry in frames.json."""
    if shown.presence == 0:
        return {"source": shown.source, "box": None, "mouth": "kept"}
    box = [round(float(side), 2) for side in dubber.track.boxes[shown.source]]
    return {"source": shown.source, "box": box, "mouth": "generated", "presence": round(shown.presence, 3)}

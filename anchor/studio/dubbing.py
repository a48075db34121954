"""`anchor dub`: any video, or an avatar, with another speech."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

from anchor.avatars import NOTE
from anchor.errors import ConfigError
from anchor.faces import make_detector
from anchor.inference.dub import load_generator
from anchor.inference.dubber import Dubber
from anchor.inference.footage import read_footage
from anchor.inference.heap import return_large_blocks
from anchor.inference.progress import show_progress
from anchor.inference.target import check_target
from anchor.media.audio import read_audio
from anchor.media.writer import write_video
from anchor.ops.mel import log_mel
from anchor.ops.silence import SilenceKind, with_silence
from anchor.studio.narration import SOUND_RATE
from anchor.studio.speaking import speak
from anchor.studio.titles import LABEL, draw_titles
from anchor.timing import FPS, SAMPLES_PER_FRAME

__all__ = ["dub"]


def dub(
    *,
    speech: Path,
    out: Path,
    video: Path | None = None,
    checkpoint: Path | None = None,
    avatar: Path | None = None,
    silence: SilenceKind = "close",
    label: str = LABEL,
    font: Path | None = None,
    detector: Literal["auto", "insightface", "yunet", "haar"] = "auto",
    device: Literal["auto", "mlu", "cuda", "cpu"] = "auto",
) -> None:
    """A video with another speech: as long as the speech, labelled as synthetic. `anchor infer` has more to choose.

    speech: anything with a sound track. out: the video to write (.mp4).
    video, checkpoint: whose face, and the network; or avatar: a folder that has both.
    silence: close (the mouth closes in pauses of 0.3 s and more), or heard (it hears what is recorded there).
    label: what stands in the picture's corner; label= leaves it out, and the file's metadata say it all the same.
    """
    if avatar is not None:
        if video is not None or checkpoint is not None:
            raise ConfigError("avatar= has pictures and network of its own. Leave out video= and checkpoint=.")
        speak(avatar=avatar, out=out, speech=speech, silence=silence, label=label, font=font, device=device)
        return
    if video is None or checkpoint is None:
        raise ConfigError("Give video= and checkpoint=, or avatar=.")
    check_target(out, "video", [video, speech])
    return_large_blocks()
    samples = read_audio(speech)
    net = load_generator(checkpoint, device)
    num_out = -(-len(samples) // SAMPLES_PER_FRAME)
    footage, track = read_footage(video, make_detector(detector), num_out)
    metadata = {"comment": f"{NOTE} Made by anchor from {video.name}."}
    mel_SM = with_silence(log_mel(samples), silence)
    with contextlib.closing(Dubber(net, footage, track).frames(mel_SM, num_out)) as drawn:
        frames = show_progress(draw_titles(drawn, label, font=font), num_out, f"dub {out.name}")
        sound = read_audio(speech, SOUND_RATE)
        write_video(out, frames, fps=FPS, audio=sound, sample_rate=SOUND_RATE, metadata=metadata)
    print(f"{out}: {num_out} frames, {num_out / FPS:.2f} s")

"""`anchor speak`: a text or a recording, and an avatar, become a video."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from anchor.avatars import NOTE, Avatar
from anchor.errors import ConfigError
from anchor.files import write_whole
from anchor.inference.heap import return_large_blocks
from anchor.inference.progress import show_progress
from anchor.inference.target import check_target
from anchor.media.audio import read_audio
from anchor.media.writer import write_video
from anchor.ops.mel import log_mel
from anchor.speech.text import clean_text, split_sentences
from anchor.speech.voices import open_voices
from anchor.studio.narration import SOUND_RATE, narrate, resample
from anchor.studio.performance import perform
from anchor.studio.titles import LABEL, Cue, draw_titles, make_cues, make_srt
from anchor.timing import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME

__all__ = ["speak"]


def speak(
    *,
    avatar: Path,
    out: Path,
    text: str = "",
    text_file: Path | None = None,
    speech: Path | None = None,
    tts: tuple[str, ...] = ("espeak",),
    voice: tuple[str, ...] = (),
    rate: int = 165,
    subtitles: Literal["srt", "burnt", "none"] = "srt",
    label: str = LABEL,
    font: Path | None = None,
    device: Literal["auto", "mlu", "cuda", "cpu"] = "auto",
) -> None:
    """An avatar speaks a text, or a recording, into a video with subtitles.

    avatar: a folder of `anchor avatar build`. out: the video to write (.mp4).
    text: what to say, in English, Mandarin or both; text_file: the same from a UTF-8 file; speech: or a recording.
    tts: voices in order of preference; the next one speaks what one cannot: zh=xtts:http://HOST:8000?speaker=NAME,espeak.
    voice: of espeak-ng, several by comma, each for its language: en-gb-x-rp+f3,cmn+f2. rate: words per minute.
    subtitles: srt beside the video (OUT.srt), burnt into it as well, or none.
    label: what stands in the picture's corner; label= leaves it out, and the file's metadata say it all the same.
    """
    avatar, out = Path(avatar), Path(out)
    inputs = [path for path in (text_file, speech) if path is not None]
    check_target(out, "video", inputs)
    if sum(map(bool, (text, text_file, speech))) != 1:
        raise ConfigError("Give one of text=, text_file= and speech=.")
    opened = Avatar.open(avatar)
    cues: list[Cue] = []
    if speech is not None:
        sound, samples = read_audio(speech, SOUND_RATE), read_audio(speech)
    else:
        clean, notes = clean_text(text or _read_text(text_file))
        sentences = split_sentences(clean)
        narration = narrate(sentences, open_voices(tts, voice, rate))
        sound, samples = narration.samples, resample(narration.samples, SOUND_RATE, SAMPLE_RATE)
        cues = make_cues([sentence.text for sentence in sentences], narration.times)
        for note in notes:
            print(f"  {note}")
    return_large_blocks()
    num_out = -(-len(samples) // SAMPLES_PER_FRAME)
    drawn = perform(opened, opened.load_generator(device), np.clip(samples, -1, 1), log_mel(samples), num_out)
    titled = draw_titles(drawn, label, cues if subtitles == "burnt" else (), font)
    metadata = {
        "title": opened.name,
        "comment": f"{NOTE} Made by anchor with avatar {opened.id}.",
        "artist": f"anchor avatar {opened.id}",
    }
    frames = show_progress(titled, num_out, f"speak {out.name}")
    write_video(out, frames, fps=FPS, audio=sound, sample_rate=SOUND_RATE, metadata=metadata)
    beside = ""
    if cues and subtitles != "none":
        write_whole(out.with_suffix(".srt"), make_srt(cues))
        beside = f", {out.with_suffix('.srt').name} with {len(cues)} subtitles"
    opened.close()
    print(f"{out}: {num_out} frames, {num_out / FPS:.2f} s{beside}")


def _read_text(path: Path | None) -> str:
    assert path is not None
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"text_file={path} is no UTF-8 text that can be read ({type(error).__name__}).") from None

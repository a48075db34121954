"""`anchor speak`: a text or a recording, and an avatar, become a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from anchor.avatars import Avatar, provenance
from anchor.errors import ConfigError
from anchor.files import write_whole
from anchor.inference.heap import return_large_blocks
from anchor.inference.progress import show_progress
from anchor.inference.target import check_target
from anchor.media.audio import read_audio
from anchor.media.writer import write_video
from anchor.ops.mel import log_mel
from anchor.ops.silence import SilenceKind, with_silence
from anchor.speech.text import clean_text, split_sentences
from anchor.speech.voices import VoiceChain, open_voices
from anchor.studio.narration import PAUSE_S, SOUND_RATE, narrate, resample
from anchor.studio.performance import perform
from anchor.studio.script import read_script
from anchor.studio.stage import Stage, check_pictures
from anchor.studio.titles import LABEL, Cue, check_font, draw_titles, make_cues, make_srt
from anchor.timing import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME

__all__ = ["speak"]


def speak(
    *,
    avatar: Path,
    out: Path,
    text: str = "",
    text_file: Path | None = None,
    script: Path | None = None,
    speech: Path | None = None,
    tts: tuple[str, ...] = ("espeak",),
    voice: tuple[str, ...] = (),
    rate: int = 165,
    silence: SilenceKind = "close",
    subtitles: Literal["srt", "burnt", "none"] = "srt",
    label: str = LABEL,
    font: Path | None = None,
    device: Literal["auto", "mlu", "cuda", "cpu"] = "auto",
) -> None:
    """An avatar speaks a text, or a recording, into a video with subtitles.

    avatar: a folder of `anchor avatar build`. out: the video to write (.mp4).
    text: what to say, in English, Mandarin or both; text_file: the same from a UTF-8 file; speech: or a recording.
    script: or a news item in YAML or Markdown, with titles, pictures beside the anchor, gestures and pauses.
    tts: voices in order of preference; the next one speaks what one cannot: zh=xtts:http://HOST:8000?speaker=NAME,espeak.
    voice: of espeak-ng, several by comma, each for its language: en-gb-x-rp+f3,cmn+f2. rate: words per minute.
    silence: close (in pauses of 0.3 s and more the mouth rests, whatever room is heard there), or heard.
    subtitles: srt beside the video (OUT.srt), burnt into it as well, or none.
    label: what stands in the picture's corner; label= leaves it out, and the file's metadata say it all the same.
    """
    avatar, out = Path(avatar), Path(out)
    sources = [path for path in (text_file, script, speech) if path is not None]
    check_target(out, "video", sources)
    if len(sources) + bool(text) != 1:
        raise ConfigError("Give one of text=, text_file=, script= and speech=.")
    opened = Avatar.open(avatar)
    if speech is not None:
        told = _Told(read_audio(speech, SOUND_RATE))
        samples = read_audio(speech)
    else:
        voices = open_voices(tts, voice, rate)
        if script is not None:
            told = _tell_script(Path(script), opened, voices, font)
        else:
            told = _tell_text(text or _read_text(text_file), voices)
        samples = resample(told.sound, SOUND_RATE, SAMPLE_RATE)
    return_large_blocks()
    num_out = -(-len(samples) // SAMPLES_PER_FRAME)
    net = opened.load_generator(device)
    mel_SM = with_silence(log_mel(samples), silence)
    drawn = perform(opened, net, np.clip(samples, -1, 1), mel_SM, num_out, told.gestures)
    if told.stage is not None:
        drawn = told.stage.frames(drawn)
    titled = draw_titles(drawn, label, told.cues if subtitles == "burnt" else (), font)
    frames = show_progress(titled, num_out, f"speak {out.name}")
    write_video(
        out, frames, fps=FPS, audio=told.sound, sample_rate=SOUND_RATE, metadata=provenance(opened.name, opened.id)
    )
    beside = ""
    if told.cues and subtitles != "none":
        write_whole(out.with_suffix(".srt"), make_srt(told.cues))
        beside = f", {out.with_suffix('.srt').name} with {len(told.cues)} subtitles"
    opened.close()
    print(f"{out}: {num_out} frames, {num_out / FPS:.2f} s{beside}")


@dataclass(frozen=True)
class _Told:
    """What is heard, and what belongs to it."""

    sound: np.ndarray  # float32 (L,) at 48 kHz
    cues: Sequence[Cue] = ()
    gestures: Sequence[tuple[float, str]] = ()  # (seconds, an action's name)
    stage: Stage | None = None


def _tell_text(text: str, voices: VoiceChain) -> _Told:
    clean, notes = clean_text(text)
    for note in notes:
        print(f"  {note}")
    sentences = split_sentences(clean)
    narration = narrate(sentences, voices)
    return _Told(narration.samples, make_cues([sentence.text for sentence in sentences], narration.times))


def _tell_script(path: Path, avatar: Avatar, voices: VoiceChain, font: Path | None) -> _Told:
    """A script's items one after the other.

    Raises:
        ConfigError: something in it is wrong; it is said before anything is spoken.
    """
    script = read_script(path, PAUSE_S)
    beats = [beat for item in script.items for beat in item.beats]
    for item in script.items:
        for name in (name for beat in item.beats for _, name in beat.gestures if name not in avatar.actions):
            known = ", ".join(avatar.actions) or "none"
            raise ConfigError(
                f"script={path}: item {item.number}: {{{name}}} is no action of {avatar.name}. It has {known}; "
                "a rest is written {pause 0.8}."
            )
    check_pictures(script)
    check_font(font, "".join(item.title for item in script.items))
    for note in script.notes:
        print(f"  {note}")
    narration = narrate([beat.sentence for beat in beats], voices, [beat.rest_s for beat in beats])
    spoken = [(beat.sentence.text, time) for beat, time in zip(beats, narration.times, strict=True) if beat.sentence]
    gestures = [
        (begin + share * (end - begin), name)
        for beat, (begin, end) in zip(beats, narration.times, strict=True)
        for share, name in beat.gestures
    ]
    stage = None
    if script.size is not None:
        firsts = np.cumsum([0, *(len(item.beats) for item in script.items)])[:-1]
        starts = [0.0, *(max(0.0, narration.times[first][0] - PAUSE_S / 2) for first in firsts[1:])]
        box = avatar.idle.faces.boxes[0]
        face = (float(box[0] + box[2]) / 2 / avatar.size[0], float(box[1] + box[3]) / 2 / avatar.size[1])
        stage = Stage(script, starts, len(narration.samples) / SOUND_RATE, face, font)
    return _Told(narration.samples, make_cues(*zip(*spoken, strict=True)), gestures, stage)


def _read_text(path: Path | None) -> str:
    assert path is not None
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"text_file={path} is no UTF-8 text that can be read ({type(error).__name__}).") from None

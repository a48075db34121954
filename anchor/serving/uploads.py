"""Recordings that clients send to be spoken: forms, sound of the common formats, and into a session's timeline."""

from __future__ import annotations

import asyncio
import email
import email.policy
import io

import av
import numpy as np

from anchor.errors import ConfigError, MediaError
from anchor.serving.live import Live
from anchor.serving.sound import LISTENING_RATE, SoundMaker

__all__ = ["MOST_AUDIO", "play", "read_form", "read_sound"]

MOST_AUDIO = 16 * 2**20  # bytes: 8 min of 16 kHz wav
MOST_SECONDS = 600
MOST_FIELDS = 8
AHEAD_S = 2.0  # of speech beyond what is heard, as the director keeps it
PIECE = LISTENING_RATE // 3  # rows of sound_L4 put in at once, 1 s
# How sound begins. Nothing else is opened: what FFmpeg knows besides may be a playlist, which names files elsewhere.
BEGINNINGS = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3")


def read_form(kind: str, body: bytes) -> dict[str, bytes]:
    """The fields of a ``multipart/form-data`` body.

    Raises:
        ConfigError: it is none, or has too many fields.
    """
    if kind.partition(";")[0].strip().lower() != "multipart/form-data" or "\n" in kind:
        raise ConfigError("Send a form: multipart/form-data with sessionid and file.")
    head = b"Content-Type: " + kind.encode("latin-1", "replace") + b"\r\n\r\n"
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    parts = list(message.iter_parts()) if message.is_multipart() else []
    if not 1 <= len(parts) <= MOST_FIELDS:
        raise ConfigError(f"The form has {len(parts)} fields; 1 to {MOST_FIELDS} are read.")
    fields = {}
    for part in parts:
        name, content = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = content
    return fields


def read_sound(data: bytes) -> np.ndarray:
    """Encoded sound to ``sound_L4`` of :mod:`anchor.serving.timeline`.

    Raises:
        MediaError: it is no sound of a known format, damaged, empty, or longer than ten minutes.
    """
    is_known = (
        data.startswith(BEGINNINGS) or data[4:8] == b"ftyp" or (len(data) > 1 and data[0] == 0xFF and data[1] >= 0xE0)
    )
    if not is_known:
        raise MediaError(f"The file ({len(data)} bytes) is no WAV, FLAC, Ogg, MP3, MP4 or WebM.")
    pieces, length = [], 0
    try:
        with av.open(io.BytesIO(data), "r", metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise MediaError("The file has no sound.")
            resampler = av.AudioResampler("fltp", "mono", LISTENING_RATE)
            for frame in container.decode(audio=0):
                for piece in resampler.resample(frame):
                    pieces.append(piece.to_ndarray()[0])
                    length += len(pieces[-1])
                if length > MOST_SECONDS * LISTENING_RATE:
                    raise MediaError(f"The file has more than {MOST_SECONDS} s of sound.")
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"The file cannot be decoded ({str(error)[:100]}).") from None
    if not length:
        raise MediaError("The file has no sound.")
    samples = np.clip(np.nan_to_num(np.concatenate(pieces)), -1, 1).astype(np.float32)
    return SoundMaker(LISTENING_RATE).add(samples, is_last=True)


async def play(live: Live, sound_L4: np.ndarray, epoch: int) -> None:
    """Speak ``sound_L4`` after all that was to be said before; an interruption ends it."""
    timeline = live.session.timeline
    while live.director.is_busy:
        await asyncio.sleep(0.02)
    try:
        for place in range(0, len(sound_L4), PIECE):
            if not timeline.say(sound_L4[place : place + PIECE], epoch, is_last=False):
                return
            while timeline.waiting_s > AHEAD_S:
                await asyncio.sleep(0.05)
    finally:
        timeline.say(sound_L4[:0], epoch, is_last=True)

"""Bytes of a sound stream to samples: raw int16, or a WAV that is still being written. Shape suffix: L samples."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from anchor.errors import ServiceError
from anchor.speech.synthesis import SoundChunk

__all__ = ["RATES", "PcmReader", "parse_rate"]

MOST_HEADER = 4096  # bytes before the samples of a WAV
FORMAT_BYTES = 24  # of a WAV's ``fmt `` chunk, its own head among them
# Codes and texts that are played as noise at full level if they are taken for samples.
FOREIGN = {b"ID3": "MP3", b"OggS": "Ogg", b"fLaC": "FLAC", b"<": "a page", b"{": "JSON", b"\xff\xf3": "MP3",
           b"\xff\xfb": "MP3", b"\x1aE\xdf\xa3": "WebM"}  # fmt: skip
RATES = "8000 to 96000 Hz and a multiple of 25"
PROBE_S = 0.1  # of sound are looked at before any of it is heard
# White noise of full scale: root mean square 0.58, half of the neighbours differ in sign. Speech has, in the loudest
# 0.1 s, less than 0.4 and, where it is as loud as that, a tenth of the neighbours.
NOISE_LEVEL, NOISE_CROSSINGS = 0.45, 0.4


def parse_rate(text: str) -> int | None:
    """Samples a second that speech may have, of its digits; None for anything else."""
    rate = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0
    return rate if _is_rate(rate) else None


def _is_rate(rate: int) -> bool:
    """A rate without a large factor in common with ours would take gigabytes to resample."""
    return 8000 <= rate <= 96_000 and rate % 25 == 0


class PcmReader:
    """int16 little-endian mono samples in pieces of any length, with or without the header of a WAV.

    Args:
        what: who sends it, for sentences.
        rate: samples a second where no header says.
    """

    def __init__(self, what: str, rate: int) -> None:
        self._what, self._rate, self._channels = what, rate, 1
        self._rest = b""
        self._is_begun = self._is_checked = False

    def add(self, piece: bytes) -> Iterator[SoundChunk]:
        """The samples that ``piece`` completes.

        Raises:
            ServiceError: these are no such samples.
        """
        self._rest += piece
        if not self._is_begun and not self._begin():
            return
        step = 2 * self._channels
        least = 0 if self._is_checked else step * int(PROBE_S * self._rate)
        count = len(self._rest) // step * step
        if count == 0 or count < least:
            return
        yield self._chunk(count)

    def end(self) -> Iterator[SoundChunk]:
        """What is left; raises where there was no sound at all."""
        step = 2 * self._channels
        count = len(self._rest) // step * step if self._is_begun or self._begin(is_last=True) else 0
        if count:
            yield self._chunk(count)
        if not self._is_checked:
            raise ServiceError(f"{self._what} sent no sound.")

    def _begin(self, is_last: bool = False) -> bool:
        """Read the header, if there is one; says whether samples can be read."""
        head = self._rest
        if len(head) < 12 and not is_last:
            return False
        foreign = next((name for mark, name in FOREIGN.items() if head.startswith(mark)), "")
        if foreign:
            raise ServiceError(f"{self._what} sent {foreign}, and WAV or int16 samples are read.")
        if head[:4] == b"RIFF":
            place = head.find(b"data", 12, MOST_HEADER)
            if place < 0 or len(head) < place + 8:
                if is_last or len(head) > MOST_HEADER:
                    raise ServiceError(f"{self._what} sent a WAV without samples.")
                return False
            format_place = head.find(b"fmt ", 12, place)
            if not 0 <= format_place <= place - FORMAT_BYTES:
                raise ServiceError(f"{self._what} sent a WAV that does not say its format.")
            code, channels, rate = struct.unpack_from("<HHI", head, format_place + 8)
            (bits,) = struct.unpack_from("<H", head, format_place + 22)
            if code not in (1, 0xFFFE) or bits != 16 or channels not in (1, 2) or not _is_rate(rate):
                raise ServiceError(
                    f"{self._what} sent a WAV of format {code}, {bits} bits, {channels} channels, {rate} Hz. "
                    f"It should be int16, one or two channels, {RATES}."
                )
            self._channels, self._rate, self._rest = channels, rate, head[place + 8 :]
        self._is_begun = True
        return True

    def _chunk(self, count: int) -> SoundChunk:
        data, self._rest = self._rest[:count], self._rest[count:]
        samples_L = np.frombuffer(data, "<i2").astype(np.float32).reshape(-1, self._channels).mean(1) / 32768
        if not self._is_checked:
            self._is_checked = True
            crossings = float((np.signbit(samples_L[1:]) != np.signbit(samples_L[:-1])).mean()) if count > 4 else 0.0
            if np.sqrt((samples_L**2).mean()) > NOISE_LEVEL and crossings > NOISE_CROSSINGS:
                raise ServiceError(f"{self._what} sent noise at full level, which is no speech.")
        return SoundChunk(samples_L, self._rate)

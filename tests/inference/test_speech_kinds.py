"""Any speech a user brings: it works, and the video is as long, or one sentence says why not."""

import struct
import wave

import av
import numpy as np
import pytest

from anchor.errors import MediaError
from anchor.inference import infer
from anchor.media.audio import read_audio
from anchor.media.reader import probe

SECONDS = 0.6


def _tone(rate, seconds=SECONDS):
    return 0.4 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)


def _write_pcm(path, samples_SC, rate, width):
    """A WAV of 8, 16 or 24 bits."""
    scaled = np.rint(np.clip(samples_SC, -1, 1) * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    scaled = scaled + 128 if width == 1 else scaled
    data = scaled.astype("<i8").reshape(-1, 1).view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples_SC.ndim == 1 else samples_SC.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)


def _write_float(path, samples, rate):
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, rate, 4 * rate, 4, 32)
    riff = struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE")
    path.write_bytes(riff + form + struct.pack("<4sI", b"data", len(data)) + data)


def _write_coded(path, codec, rate=48_000, layout="stereo", form=None):
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.tile(_tone(rate), (2, 1)).astype(np.float32), "fltp", layout)
        frame.sample_rate = rate
        size = stream.codec_context.frame_size or 1024
        for piece in av.AudioResampler(stream.codec_context.format, layout, rate, frame_size=size).resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


def _length(good):
    infer(**good)
    return probe(good["out"]).num_frames


@pytest.mark.parametrize(
    ("rate", "channels", "width"), [(8_000, 1, 2), (48_000, 2, 2), (44_100, 1, 3), (96_000, 2, 3), (11_025, 1, 1)]
)
def test_any_wav(good, tmp_path, rate, channels, width):
    tone = _tone(rate)
    _write_pcm(tmp_path / "s.wav", np.stack([tone] * channels, 1) if channels > 1 else tone, rate, width)
    assert _length({**good, "speech": tmp_path / "s.wav"}) == 15
    heard = read_audio(good["out"])
    assert 0.2 < np.sqrt(np.mean(heard[1000:8000] ** 2)) < 0.35  # 0.28 for a tone of 0.4


def test_float_wav_beyond_full_scale(good, tmp_path):
    _write_float(tmp_path / "s.wav", 3 * _tone(32_000), 32_000)
    assert _length({**good, "speech": tmp_path / "s.wav"}) == 15


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [
        ("s.mp3", "libmp3lame", None),
        ("s.m4a", "aac", "mp4"),
        ("s.ogg", "libopus", None),
        ("s.webm", "libopus", "webm"),
        ("s.flac", "flac", None),
        ("s.txt", "flac", "flac"),  # called what it is not
        ("s.wav", "libmp3lame", "mp3"),
    ],
)
def test_any_container(good, tmp_path, name, codec, form):
    _write_coded(tmp_path / name, codec, form=form)
    assert abs(_length({**good, "speech": tmp_path / name}) - 15) <= 2  # a codec's last packet is as long as it is


def test_the_sound_of_a_video(good, tmp_path):
    first = {**good, "out": tmp_path / "first.mp4"}
    infer(**first)
    assert abs(_length({**good, "speech": first["out"]}) - 13) <= 1


@pytest.mark.parametrize("samples", [np.zeros(9_600), 0.3 + _tone(16_000), np.sign(_tone(16_000))])
def test_silence_an_offset_and_a_clipped_voice_are_speech_too(good, tmp_path, samples):
    _write_pcm(tmp_path / "s.wav", samples, 16_000, 2)
    assert _length({**good, "speech": tmp_path / "s.wav"}) == 15


@pytest.mark.parametrize("num_samples", [1, 320, 640, 641])
def test_a_blink_of_sound_is_a_frame(good, tmp_path, num_samples):
    _write_pcm(tmp_path / "s.wav", _tone(16_000)[:num_samples], 16_000, 2)
    assert _length({**good, "speech": tmp_path / "s.wav"}) == -(-num_samples // 640)


def test_no_sound_is_a_sentence(good, tmp_path):
    empty, bare, text = tmp_path / "empty.wav", tmp_path / "bare.wav", tmp_path / "text.wav"
    empty.touch()
    _write_pcm(bare, np.zeros(0), 16_000, 2)
    text.write_text("What I want to say. " * 50)
    for path, words in (
        (empty, "empty.wav has zero bytes"),
        (bare, r"bare\.wav"),
        (text, r"text\.wav is no video or sound file"),
        (tmp_path / "missing.wav", "does not exist"),
        (tmp_path, "is a folder"),
        (good["face"], "no audio track"),
    ):
        with pytest.raises(MediaError, match=words):
            infer(**{**good, "speech": path})
    assert not good["out"].exists()

import shutil
import struct
import time
from fractions import Fraction

import av
import numpy as np
import pytest

from anchor.errors import MediaError
from anchor.media import FrameReader, probe, read_audio, read_image, read_video_25fps, write_video
from anchor.media.audio import _Resampled

FFMPEG = pytest.param(
    "ffmpeg", marks=pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on PATH")
)
BACKENDS = ["decord", "pyav", FFMPEG]


def test_a_video_at_25_fps_is_read_frame_by_frame(tmp_path, numbers, noise):
    draw, read = numbers
    write_video(tmp_path / "v.mp4", (draw(i) for i in range(50)), audio=noise)
    reader = read_video_25fps(tmp_path / "v.mp4")
    assert [(i, read(frame)) for i, frame in reader] == [(i, i) for i in range(50)]
    assert reader.backend == "decord"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fps", [30, 24, 50, 12.5])
def test_other_rates_show_what_a_viewer_sees(tmp_path, numbers, noise, fps, backend):
    draw, read = numbers
    write_video(tmp_path / "v.mp4", (draw(i) for i in range(int(2 * fps))), fps=fps, audio=noise)
    seen = [(i, read(frame)) for i, frame in FrameReader(tmp_path / "v.mp4", backend=backend)]
    assert len(seen) in (49, 50)
    assert seen == [(i, int((i + 0.5) / 25 * fps + 1e-6 * fps)) for i in range(len(seen))]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_late_picture_stays_late(tmp_path, numbers, noise, delay, backend, suffix):
    draw, read = numbers
    write_video(tmp_path / "v.mp4", (draw(i) for i in range(50)), audio=noise)
    delay(tmp_path / "v.mp4", tmp_path / f"late{suffix}", 0.4)
    assert probe(tmp_path / f"late{suffix}").offset_s == pytest.approx(0.4, abs=0.005)
    seen = [(i, read(frame)) for i, frame in FrameReader(tmp_path / f"late{suffix}", backend=backend)]
    assert seen[:40] == [(i + 10, i) for i in range(40)]


@pytest.mark.parametrize("backend", ["auto", FFMPEG])
def test_an_early_picture_loses_what_has_no_sound(tmp_path, numbers, noise, delay, backend):
    draw, read = numbers
    write_video(tmp_path / "v.mp4", (draw(i) for i in range(50)), audio=noise)
    delay(tmp_path / "v.mp4", tmp_path / "early.mkv", -0.2)
    info = probe(tmp_path / "early.mkv")
    seen = [(i, read(frame)) for i, frame in FrameReader(tmp_path / "early.mkv", backend=backend)]
    assert info.offset_s == pytest.approx(-0.2, abs=0.005)
    assert seen[:10] == [(i, i + 5) for i in range(10)]


TURNS = {  # degrees clockwise: the display matrix a, b, u, c, d, v, x, y, w of the mp4 track header
    0: (1, 0, 0, 0, 1, 0, 0, 0), 90: (0, 1, 0, -1, 0, 0, 64, 0),
    180: (-1, 0, 0, 0, -1, 0, 96, 64), 270: (0, -1, 0, 1, 0, 0, 0, 96),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("clockwise", list(TURNS))
def test_rotation_is_honoured(tmp_path, backend, clockwise):
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48] = 255  # top left
    write_video(tmp_path / "v.mp4", [picture] * 5)
    data = bytearray((tmp_path / "v.mp4").read_bytes())
    matrix = data.find(b"tkhd") + 8 + 20 + 16
    data[matrix : matrix + 36] = struct.pack(">9i", *(value << 16 for value in TURNS[clockwise]), 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    upright = np.rot90(picture, -clockwise // 90)
    info = probe(tmp_path / "turned.mp4")
    assert (info.height, info.width) == upright.shape[:2]
    assert info.rotation % 360 == -clockwise % 360
    frames = list(FrameReader(tmp_path / "turned.mp4", backend=backend))
    assert len(frames) == 5
    for _, frame in frames:
        assert frame.shape == upright.shape
        assert np.abs(frame[8:-8:16, 8:-8:16].astype(int) - upright[8:-8:16, 8:-8:16]).max() < 20


def test_memory_does_not_grow_with_the_clip(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 255, (4, 360, 640, 3), np.uint8)
    write_video(tmp_path / "v.mp4", (pictures[i % 4] for i in range(700)), preset="ultrafast", crf=40)
    reader = FrameReader(tmp_path / "v.mp4")
    resident = []
    for i, _ in reader:
        time.sleep(0.001)  # a decoder that runs ahead of its reader has time to
        if i % 100 == 99:
            resident.append(resident_mb())
    assert len(resident) == 7
    assert max(resident) - resident[0] < 60  # 484 MB of pictures went by
    assert reader.reason == ""


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def test_a_damaged_end_is_read_by_pyav_as_far_as_it_goes(tmp_path, numbers, noise):
    draw, read = numbers
    rng = np.random.default_rng(0)
    pictures = [draw(i) | rng.integers(0, 40, (96, 128, 3), np.uint8) for i in range(100)]
    write_video(tmp_path / "v.mp4", pictures, audio=noise)
    data = (tmp_path / "v.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 3 // 4])
    reader = read_video_25fps(tmp_path / "cut.mp4")
    seen = [(i, read(frame)) for i, frame in reader]
    assert reader.backend == "pyav"
    assert reader.reason
    assert 30 < len(seen) < 100
    assert seen[:30] == [(i, i) for i in range(30)]


@pytest.mark.parametrize("read", [probe, read_audio, read_video_25fps])
@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("none.mp4", None, "does not exist"),
        ("zero.mp4", b"", "zero bytes"),
        ("text.mp4", b"hello" * 99, "no video or sound"),
    ],
)
def test_says_why_a_file_cannot_be_read(tmp_path, name, data, words, read):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(MediaError, match=words) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)


def test_says_what_is_missing(tmp_path, noise):
    write_video(tmp_path / "mute.mp4", [np.zeros((32, 32, 3), np.uint8)] * 5)
    with pytest.raises(MediaError, match="no audio track"):
        read_audio(tmp_path / "mute.mp4")
    assert not probe(tmp_path / "mute.mp4").has_audio
    with pytest.raises(MediaError, match="is a folder"):
        probe(tmp_path)


def test_sound_is_mono_at_16_khz_whatever_it_was(tmp_path):
    import av

    rate, seconds = 44_100, 1.5
    times = np.arange(int(rate * seconds)) / rate
    stereo = np.stack([0.4 * np.sin(2 * np.pi * 440 * times), 0.2 * np.sin(2 * np.pi * 440 * times)])
    with av.open(str(tmp_path / "s.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="stereo")
        interleaved = np.round(stereo.T.reshape(1, -1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout="stereo")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    samples = read_audio(tmp_path / "s.wav")
    assert samples.dtype == np.float32
    assert abs(len(samples) - 16_000 * seconds) <= 1
    expected = np.sin(2 * np.pi * 440 * np.arange(len(samples)) / 16_000)
    scale = float(samples[800:-800] @ expected[800:-800] / (expected[800:-800] @ expected[800:-800]))
    assert 0.25 < scale < 0.45  # the channels are mixed
    np.testing.assert_allclose(samples[800:-800], scale * expected[800:-800], atol=0.01)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_long_sound_is_resampled_in_pieces_as_in_one(rate):
    import torch
    import torchaudio.functional as audio_functional

    samples = np.random.default_rng(0).standard_normal(rate * 45 + 123).astype(np.float32)
    pieces = _Resampled(rate, 16_000)
    for start in range(0, len(samples), 1152):
        pieces.add(samples[start : start + 1152])
    whole = audio_functional.resample(torch.from_numpy(samples), rate, 16_000).numpy()
    np.testing.assert_allclose(pieces.finish(), whole, atol=1e-5)


def test_pictures_are_rgb_even_beside_decord(tmp_path):
    import cv2

    write_video(tmp_path / "v.mp4", [np.zeros((32, 32, 3), np.uint8)] * 5)
    assert read_video_25fps(tmp_path / "v.mp4").backend == "decord"  # whose zlib once broke every PNG

    cv2.imwrite(str(tmp_path / "red.png"), np.full((8, 8, 3), (0, 0, 200), np.uint8))
    assert read_image(tmp_path / "red.png")[0, 0].tolist() == [200, 0, 0]
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match="no picture"):
        read_image(tmp_path / "no.png")


def test_x01_starts_late_and_p02_is_uneven(data_dir):
    clips = data_dir / "data" / "clips"
    info = probe(clips / "x01_multishot_2997fps.mp4")
    assert info.offset_s == pytest.approx(0.844, abs=0.002)  # 852 ms, less the 8 ms by which the sound is late
    first, _ = next(iter(read_video_25fps(clips / "x01_multishot_2997fps.mp4")))
    assert first == 21
    reader = read_video_25fps(clips / "p02_man_700px_vfr22.mp4")
    indexes = [i for i, _ in reader]
    assert indexes == list(range(1, 153))


def test_decord_and_pyav_see_the_same(data_dir):
    path = data_dir / "data" / "clips" / "g01_360x288_mpeg1.mpg"
    for (i, one), (j, other) in zip(
        FrameReader(path, backend="decord"), FrameReader(path, backend="pyav"), strict=True
    ):
        assert i == j
        assert np.abs(one[::8, ::8].astype(int) - other[::8, ::8]).mean() < 6


@pytest.mark.parametrize("backend", ["auto", FFMPEG])
def test_pictures_that_an_edit_list_hides_stay_hidden(tmp_path, backend):
    """A film cut without re-encoding keeps the pictures since the last key picture; decord counts them as shown."""
    pictures = [np.full((64, 64, 3), 2 * i, np.uint8) for i in range(100)]
    write_video(tmp_path / "whole.mp4", pictures, audio=np.zeros(64_000, np.float32))
    with av.open(str(tmp_path / "whole.mp4")) as whole, av.open(str(tmp_path / "cut.mp4"), "w") as cut:
        streams = {stream.index: cut.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            if packet.dts is None or (packet.stream.type == "audio" and packet.pts * packet.time_base < 1.2):
                continue
            begin = round(1.2 / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - begin, packet.dts - begin, streams[packet.stream.index]
            cut.mux(packet)
    reader = FrameReader(tmp_path / "cut.mp4", backend=backend)
    shown = [int(frame.mean()) for _, frame in reader]
    assert abs(len(shown) - 70) <= 1
    assert max(abs(level - 2 * (30 + i)) for i, level in enumerate(shown)) <= 4
    if backend == "auto":
        assert "edit list" in reader.reason


@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_that_are_not_square_are_shown_as_a_player_does(tmp_path, backend):
    """HDV and broadcast material stores 1440 columns for 1920; a face would be drawn too narrow."""
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        picture = np.zeros((96, 96, 3), np.uint8)
        picture[:, 48:] = 200
        for _ in range(10):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture)):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    assert (probe(path).width, probe(path).height) == (128, 96)
    frames = [frame for _, frame in FrameReader(path, backend=backend)]
    assert {frame.shape for frame in frames} == {(96, 128, 3)}
    assert frames[0][:, :60].mean() < 20
    assert frames[0][:, 68:].mean() > 180

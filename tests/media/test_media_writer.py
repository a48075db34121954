import resource

import av
import numpy as np
import pytest

from anchor.errors import MediaError
from anchor.media import probe, read_audio, read_video_25fps, write_video

COLOURS = [(200, 40, 40), (40, 180, 60), (30, 60, 200), (220, 190, 160), (120, 80, 70), (255, 255, 255), (0, 0, 0)]


def lag_of(heard: np.ndarray, written: np.ndarray) -> int:
    """By how many samples ``heard`` is later than ``written``."""
    size = 1 << 18
    correlation = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(written, size)))
    lag = int(correlation.argmax())
    return lag if lag < size // 2 else lag - size


def test_colours_survive_every_reader(tmp_path):
    picture = np.repeat(np.array(COLOURS, np.uint8)[None], 64, 0).repeat(32, 1)
    path = tmp_path / "colours.mp4"
    assert write_video(path, [picture] * 3) == 3
    decord_frame = next(iter(read_video_25fps(path)))[1]
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)  # BT.709, limited
        pyav_frame = frame.to_ndarray(format="rgb24")
    for i, colour in enumerate(COLOURS):
        assert np.abs(decord_frame[32, 32 * i + 16].astype(int) - colour).max() <= 4
        assert np.abs(pyav_frame[32, 32 * i + 16].astype(int) - colour).max() <= 4


@pytest.mark.parametrize("rate", [16_000, 44_100, 22_050, 30_000])
def test_sound_starts_with_the_picture(tmp_path, rate):
    samples = np.zeros(3 * rate, np.float32)
    rng = np.random.default_rng(1)
    for start_s in (0.0, 0.9, 2.2):
        start = round(start_s * rate)
        samples[start : start + rate // 10] = 0.2 * rng.standard_normal(rate // 10)
    path = tmp_path / "sync.mp4"
    write_video(path, (np.zeros((64, 64, 3), np.uint8) for _ in range(75)), audio=samples, sample_rate=rate)
    info = probe(path)
    assert abs(info.offset_s) < 0.001
    heard = read_audio(path, sample_rate=rate)
    assert abs(lag_of(heard, samples)) / rate < 0.002  # 10 ms were asked for
    assert 0 <= len(heard) - len(samples) < 4096


def test_frames_may_be_a_generator_and_are_not_kept(tmp_path):
    alive = []

    class Picture(np.ndarray):
        def __del__(self):
            alive.pop()

    def pictures():
        for i in range(40):
            picture = np.full((64, 64, 3), i, np.uint8).view(Picture)
            alive.append(i)
            assert len(alive) < 6
            yield picture

    write_video(tmp_path / "long.mp4", pictures())
    assert probe(tmp_path / "long.mp4").num_frames == 40


def test_odd_sides_grow_by_one(tmp_path):
    write_video(tmp_path / "odd.mp4", [np.full((65, 33, 3), 90, np.uint8)] * 3)
    info = probe(tmp_path / "odd.mp4")
    assert (info.width, info.height) == (34, 66)
    frame = next(iter(read_video_25fps(tmp_path / "odd.mp4")))[1]
    assert np.abs(frame.astype(int) - 90).max() <= 3


@pytest.mark.parametrize("fps", [25, 30, 30_000 / 1001, 23.976])
def test_rates(tmp_path, fps):
    write_video(tmp_path / "rate.mp4", [np.zeros((32, 32, 3), np.uint8)] * 12, fps=fps)
    assert probe(tmp_path / "rate.mp4").fps == pytest.approx(fps, abs=1e-3)


def test_the_header_comes_first(tmp_path):
    write_video(tmp_path / "fast.mp4", [np.zeros((32, 32, 3), np.uint8)] * 12)
    data = (tmp_path / "fast.mp4").read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.mp4"
    write_video(path, [np.zeros((32, 32, 3), np.uint8)] * 3)
    before = path.read_bytes()

    def broken():
        yield np.zeros((32, 32, 3), np.uint8)
        raise RuntimeError("the model fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        write_video(path, broken())
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["kept.mp4"]


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "no frames"),
        ([np.zeros((32, 32, 3), np.uint8), np.zeros((32, 34, 3), np.uint8)], "frame 1 is 34x32"),
        ([np.zeros((32, 32, 3), np.float32)], "uint8 RGB"),
    ],
)
def test_refuses_what_is_no_video(tmp_path, frames, words):
    with pytest.raises(MediaError, match=words):
        write_video(tmp_path / "no.mp4", frames)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [0, 3_000, 40_000])
def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(tmp_path, limit):
    """The disk is full at the header, in the pictures, or where the header is moved to the front."""
    path = tmp_path / "kept.mp4"
    write_video(path, [np.zeros((32, 32, 3), np.uint8)] * 3)
    before = path.read_bytes()
    rng = np.random.default_rng(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(MediaError, match=r"kept\.mp4: the video could not be written"):
            write_video(path, (rng.integers(0, 256, (96, 96, 3), np.uint8) for _ in range(60)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["kept.mp4"]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="could not be written"):
        write_video(tmp_path / "file" / "video.mp4", [np.zeros((32, 32, 3), np.uint8)])


@pytest.mark.parametrize("num_samples", [1, 100, 1_023, 1_024])
def test_a_blink_of_sound(tmp_path, num_samples):
    samples = np.full(num_samples, 0.1, np.float32)
    write_video(tmp_path / "short.mp4", [np.zeros((32, 32, 3), np.uint8)] * 2, audio=samples, sample_rate=48_000)
    assert probe(tmp_path / "short.mp4").has_audio

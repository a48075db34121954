"""Which moments of long material are looked at, and what a jump to one shows."""

import av
import numpy as np
import pytest

from anchor.media import FrameReader, probe
from anchor.preprocess.material import lips, sampling


def write_numbered(path, times, size=(64, 96)):
    """Picture ``i``, shown at ``times[i]`` seconds, is as bright as 2 i; a key picture every 12."""
    with av.open(str(path), "w") as container:
        options = {"g": "12", "keyint_min": "12", "sc_threshold": "0", "bf": "2", "crf": "8"}
        stream = container.add_stream("libx264", rate=50, options=options)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for i, seconds in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 2 * i, np.uint8), format="rgb24")
            frame.pts = round(seconds * 50)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_variable_rate_is_seen(tmp_path):
    even = write_numbered(tmp_path / "even.mp4", [i / 25 for i in range(50)])
    uneven = write_numbered(tmp_path / "uneven.mp4", np.cumsum([0.04 if i % 5 else 0.12 for i in range(50)]))
    timeline = sampling.read_timeline(even, probe(even))
    assert timeline.fps == pytest.approx(25, abs=0.01)
    assert not timeline.is_variable
    assert timeline.seconds == pytest.approx(2.0, abs=0.05)
    assert len(timeline.keys_s) == 5
    assert sampling.read_timeline(uneven, probe(uneven)).is_variable


def test_a_jump_shows_what_reading_through_shows(tmp_path):
    path = write_numbered(tmp_path / "clip.mp4", [i / 25 for i in range(100)])
    info = probe(path)
    whole = {i: picture.mean() for i, picture in FrameReader(path, info)}
    keys = sampling.read_timeline(path, info).keys_s
    jumps = [sampling.Moment((30, 35), keys[2]), sampling.Moment((72, 77), keys[6])]
    through = [sampling.Moment((30, 35)), sampling.Moment((72, 77))]
    for moments in (jumps, through):
        seen = dict(sampling.read_moments(path, info, moments))
        assert list(seen) == [30, 35, 72, 77]
        for number, picture in seen.items():
            assert picture.mean() == pytest.approx(whole[number], abs=1.5)


@pytest.mark.parametrize("keys", [np.arange(0, 3600, 10.0), (0.0,)])
def test_an_hour_is_looked_at_in_moments_from_end_to_end(tmp_path, keys):
    info = probe(write_numbered(tmp_path / "clip.mp4", [0, 0.04, 0.08]))
    moments = sampling.plan_moments(sampling.Timeline(25.0, False, 3600.0, tuple(keys)), info, 3, 90_000)
    frames = [number for moment in moments for number in moment.frames]
    assert len(frames) <= sampling.MAX_SAMPLES
    assert frames == sorted(set(frames))
    assert {(number - 3) % sampling.SAMPLE_STRIDE for number in frames} == {0}
    assert frames[0] < 300
    assert frames[-1] > 88_000
    assert max(np.diff(frames)) < 2500
    assert {moment.seek_s is None for moment in moments} == {len(keys) == 1}


@pytest.mark.parametrize("first", [0, 3])
def test_pieces_lie_apart_and_have_the_sound_of_their_frames(tmp_path, first):
    info = probe(write_numbered(tmp_path / "clip.mp4", [0, 0.04, 0.08]))
    timeline = sampling.Timeline(25.0, False, 60.0, tuple(np.arange(0, 60, 2.0)))
    assert lips.plan_pieces(timeline, info, first, first) == []
    assert [len(piece.frames) for piece in lips.plan_pieces(timeline, info, first, 700)] == [700 - first]
    pieces = lips.plan_pieces(timeline, info, first, 1500)
    frames = [number for piece in pieces for number in piece.frames]
    assert len(frames) == lips.PIECES * lips.PIECE
    assert frames == sorted(set(frames))
    assert (frames[0], frames[-1]) == (first, 1499)
    assert all(sampling.frame_from(piece.seek_s) <= piece.frames[0] for piece in pieces)
    ramp = np.arange(1500 * 640, dtype=np.float32)
    heard = lips.cut_pieces(ramp, pieces)
    assert [len(one) for one in heard] == [(lips.PIECE + 2 * lips.AROUND) * 640] * 3
    assert [one[lips.AROUND * 640] for one in heard] == [piece.frames[0] * 640 for piece in pieces]
    assert heard[0][0] == 0
    assert heard[-1][-1] == 0

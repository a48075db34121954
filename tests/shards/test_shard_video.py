import io

import av
import numpy as np
import pytest

from anchor.errors import DamagedError, ShardError
from anchor.shards import ShardSet, encode_clip
from anchor.shards.video import GOP, decode_video, pack_video


def numbered(count, size=48):
    """Frames that tell their number: eight squares are its bits, on a ground that moves."""
    frames = []
    for number in range(count):
        frame = np.full((size, size, 3), (30, 60 + number % 50, 90), np.uint8)
        for bit in range(8):
            left = bit * size // 8
            frame[: size // 3, left : left + size // 8] = (250, 120, 20) if number >> bit & 1 else (10, 20, 200)
        frames.append(frame)
    return frames


def number_of(picture):
    size = len(picture)
    return sum((picture[size // 6, bit * size // 8 + size // 16, 0] > 128) << bit for bit in range(8))


@pytest.fixture(scope="module")
def video():
    return pack_video(numbered(3 * GOP + 4))["frames.mp4"]


def test_frame_n_is_frame_n(video):
    count = 3 * GOP + 4
    for numbers in (range(count), [count - 1], [0], [GOP - 1, GOP, 2 * GOP], [25, 3, 3, 33, 0, 12], range(8, 13)):
        pictures = np.zeros((len(numbers), 48, 48, 3), np.uint8)
        decode_video(video, numbers, count, pictures)
        assert [number_of(picture) for picture in pictures] == list(numbers)


def test_a_single_frame_is_the_same_as_in_the_whole(video):
    count = 3 * GOP + 4
    whole = np.zeros((count, 48, 48, 3), np.uint8)
    decode_video(video, range(count), count, whole)
    one = np.zeros((1, 48, 48, 3), np.uint8)
    for number in range(count):
        decode_video(video, [number], count, one)
        np.testing.assert_array_equal(one[0], whole[number])


def test_red_lips_stay_red():
    """Colour is not subsampled: a fine red pattern comes back, which 4:2:0 would blur to its mean."""
    frame = np.zeros((48, 48, 3), np.uint8)
    frame[:, ::2] = (200, 30, 40)
    frame[:, 1::2] = (90, 60, 60)
    pictures = np.zeros((1, 48, 48, 3), np.uint8)
    decode_video(pack_video([frame] * 3)["frames.mp4"], [1], 3, pictures)
    assert np.abs(pictures[0].astype(int) - frame).mean() < 4


def test_the_stream_is_what_the_format_says(video):
    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt in ("yuv444p", "yuvj444p")
        assert stream.average_rate == 25
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert [number for number, packet in enumerate(packets) if packet.is_keyframe] == [0, GOP, 2 * GOP, 3 * GOP]
        assert [packet.pts for packet in packets] == sorted(packet.pts for packet in packets)
        assert all(packet.pts == packet.dts for packet in packets)  # nothing is predicted from the future


def test_equal_frames_make_equal_videos(video):
    assert pack_video(numbered(3 * GOP + 4))["frames.mp4"] == video


@pytest.mark.parametrize("size", [33, 48])
def test_odd_sizes_are_kept(size):
    pictures = np.zeros((2, size, size, 3), np.uint8)
    decode_video(pack_video(numbered(5, size))["frames.mp4"], [0, 4], 5, pictures)
    assert np.abs(pictures[1].astype(int) - numbered(5, size)[4]).mean() < 4


def test_a_set_of_videos_reads_like_one_of_pictures(tmp_path, new_shards, clip):
    pictures = ShardSet(new_shards(tmp_path / "jpeg"))
    videos = ShardSet(new_shards(tmp_path / "h264", codec="h264"))
    assert (videos.codec, videos.manifest["codec"]) == ("h264", "h264")
    for one, other in zip(pictures.clips, videos.clips, strict=True):
        assert one == other
        np.testing.assert_array_equal(videos.read_mel(other), pictures.read_mel(one))
        np.testing.assert_array_equal(videos.read_audio(other), pictures.read_audio(one))
        assert videos.read_meta(other) == pictures.read_meta(one)
        frames = np.array(clip(int(one.key[4:]))[0])[[11, 2, 3]]
        assert np.abs(videos.read_frames(other, [11, 2, 3]).astype(int) - frames).mean() < 2
    with pytest.raises(ShardError, match="frame 12 was asked for"):
        videos.read_frames(videos.clips[0], [12])


def test_jpegs_can_be_given_too(clip):
    from anchor.ops.jpeg import encode_rgb

    frames, mel, audio = clip(0)
    members = encode_clip([encode_rgb(frame) for frame in frames], mel, audio, {}, codec="h264")
    assert sorted(members) == ["audio.flac", "frames.mp4", "mel.npy", "meta.json"]


@pytest.mark.parametrize("data", [b"", b"no video", bytes(5000)])
def test_what_is_no_video_is_refused(data):
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_video(data, [0], 1, np.zeros((1, 48, 48, 3), np.uint8))


def test_a_video_of_no_known_codec_is_refused(video):
    with pytest.raises(ValueError, match=r"holds no video|cannot be decoded"):
        decode_video(video.replace(b"avc1", b"zzzz"), [0], 34, np.zeros((1, 48, 48, 3), np.uint8))


def test_a_video_of_other_size_or_length_is_refused(video):
    with pytest.raises(ValueError, match="34 frames of 48x48 pixels, not 34 of 96x96"):
        decode_video(video, [0], 34, np.zeros((1, 96, 96, 3), np.uint8))
    with pytest.raises(ValueError, match="34 frames of 48x48 pixels, not 250 of 48x48"):
        decode_video(video, [0], 250, np.zeros((1, 48, 48, 3), np.uint8))


def test_a_video_whose_times_stand_still_is_refused(video):
    table = video.index(b"stts") + 8
    assert video[table : table + 8] == bytes([0, 0, 0, 1, 0, 0, 0, 34])  # one entry: so many frames, so long each
    still = video[: table + 8] + bytes(4) + video[table + 12 :]
    with pytest.raises(ValueError, match="it holds frame 0 twice"):
        decode_video(still, [0, 3], 34, np.zeros((2, 48, 48, 3), np.uint8))


def test_a_missing_encoder_is_said(monkeypatch):
    from anchor.shards import video

    monkeypatch.setattr(video, "_codecs", set)
    with pytest.raises(ShardError, match=r"codec=h264 needs libx264 with 4:4:4.*or use codec=jpeg"):
        pack_video(numbered(1))


def test_a_damaged_video_names_its_clip(tmp_path, new_shards):
    from damaging import flip

    path = new_shards(tmp_path / "set", codec="h264")
    _, begin, end = ShardSet(path).index(0).place(0, "frames.mp4")
    flip(path / "shard-000000.tar", (begin + end) // 2)
    source = ShardSet(path)
    with pytest.raises(DamagedError, match=r"clip 'clip0', frames\.mp4 is damaged"):
        source.read_frames(source.clips[0], [1])

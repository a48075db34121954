import numpy as np
import pytest

from anchor.errors import ConfigError
from anchor.synth.source import SyntheticSource


@pytest.fixture(scope="module")
def source():
    return SyntheticSource(speakers=4, clips=1, seconds=1.2, image_size=96, val_speakers=1)


def test_clips_are_split_by_speaker(source):
    assert [clip.split for clip in source.clips] == ["train", "train", "train", "val"]
    assert len({clip.key for clip in source.clips}) == 4
    assert len({clip.speaker for clip in source.clips}) == 4
    assert {clip.num_frames for clip in source.clips} == {30}


def test_a_clip_has_frames_mel_sound_and_truth(source):
    clip = source.clips[0]
    frames = source.read_frames(clip, [4, 2, 4])
    assert frames.shape == (3, 96, 96, 3)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames[0], frames[2])
    assert source.read_mel(clip).shape == (97, 80)
    assert source.read_audio(clip).shape == (19200,)
    assert source.read_audio(clip).dtype == np.float32
    assert len(source.read_meta(clip)["truth"]["opening"]) == 30


def test_the_mouth_lies_at_its_place_in_the_crop(source):
    """Frames of one clip differ most at the lips, and those are at 0.77 of the height."""
    spread = np.zeros((96, 96))
    for clip in source.clips:
        frames = source.read_frames(clip, range(30)).astype(float)
        openings = np.array(source.read_meta(clip)["truth"]["opening"])
        opened, closed = frames[openings > np.quantile(openings, 0.7)], frames[openings < np.quantile(openings, 0.3)]
        spread += np.abs(opened.mean(axis=0) - closed.mean(axis=0)).sum(axis=2)
    rows, columns = spread.sum(axis=1), spread.sum(axis=0)
    assert 0.70 < np.argmax(np.convolve(rows, np.ones(7), "same")) / 96 < 0.88
    assert 0.40 < np.average(np.arange(96), weights=columns**2) / 96 < 0.60


def test_the_seed_decides(source):
    clip = source.clips[0]
    same = SyntheticSource(speakers=4, clips=1, seconds=1.2, image_size=96, val_speakers=1)
    other = SyntheticSource(speakers=4, clips=1, seconds=1.2, image_size=96, val_speakers=1, seed=1)
    assert np.array_equal(source.read_frames(clip, [7]), same.read_frames(same.clips[0], [7]))
    assert not np.array_equal(source.read_frames(clip, [7]), other.read_frames(other.clips[0], [7]))


def test_no_one_left_to_train_on_is_refused():
    with pytest.raises(ConfigError, match="leaves no one"):
        SyntheticSource(speakers=2, val_speakers=2)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="image_size"):
        SyntheticSource(image_size=8)

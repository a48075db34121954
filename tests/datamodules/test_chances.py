import numpy as np
import pytest

from anchor.batch import ClipEntry
from datamodules.chances import Disguise, NegativeMix, disguise_mel, disguise_pictures, draw_candidates, draw_negative

CLIPS = [ClipEntry(f"c{i}", f"s{i}", "train", n, None) for i, n in enumerate((60, 40, 9))]


@pytest.mark.parametrize("mix", [NegativeMix(1, 0, 0), NegativeMix(0, 1, 0), NegativeMix(0, 0, 1), NegativeMix()])
@pytest.mark.parametrize("clip", [0, 1, 2])
def test_wrong_speech_never_overlaps_the_window(mix, clip):
    rng = np.random.default_rng(0)
    for frame in range(2, CLIPS[clip].num_frames - 2):
        for _ in range(20):
            other, wrong = draw_negative(rng, CLIPS, clip, frame, mix)
            assert other != clip or abs(wrong - frame) >= 5


@pytest.mark.parametrize("clip", [0, 1])
def test_wrong_speech_of_a_long_window_is_shifted_and_inside_its_clip(clip):
    rng = np.random.default_rng(0)
    for frame in range(8, CLIPS[clip].num_frames - 7):
        for _ in range(10):
            other, wrong = draw_negative(rng, CLIPS[:2], clip, frame, NegativeMix(), frames=16)
            assert other != clip or abs(wrong - frame) >= 5
            assert wrong - 8 >= 0
            assert wrong + 8 <= CLIPS[other].num_frames


def test_the_mix_is_what_was_configured():
    rng = np.random.default_rng(1)
    draws = [draw_negative(rng, CLIPS, 0, 30, NegativeMix(near=0.5, far=0.3, foreign=0.2)) for _ in range(4000)]
    near = np.mean([clip == 0 and abs(frame - 30) <= 15 for clip, frame in draws])
    far = np.mean([clip == 0 and abs(frame - 30) > 15 for clip, frame in draws])
    assert abs(near - 0.5) < 0.03
    assert abs(far - 0.3) < 0.03


def test_a_lone_short_clip_gets_silence():
    clip, frame = draw_negative(np.random.default_rng(0), [ClipEntry("a", "a", "train", 6, None)], 0, 3, NegativeMix())
    assert clip == 0
    assert frame >= 6 + 2


def test_candidates_for_the_reference_are_never_of_the_window():
    rng = np.random.default_rng(0)
    for _ in range(50):
        drawn = draw_candidates(rng, 60, 22, 6)
        assert len(set(drawn)) == 6
        assert all(abs(frame - 22) >= 13 for frame in drawn)  # half a second, as at inference
    assert all(abs(frame - 6) >= 5 for frame in draw_candidates(rng, 13, 6, 6))  # a clip too short for that
    assert draw_candidates(rng, 5, 2, 6) == [0]


def test_disguise_keeps_shapes_and_ranges_and_repeats():
    pictures, mel = (
        np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8),
        np.zeros((16, 80), np.float32),
    )
    changed = [disguise_pictures(np.random.default_rng(7), pictures, Disguise()) for _ in range(2)]
    assert (changed[0] == changed[1]).all()
    assert changed[0].dtype == np.uint8
    assert (changed[0] != pictures).any()
    voices = [disguise_mel(np.random.default_rng(7), mel, Disguise()) for _ in range(2)]
    assert (voices[0] == voices[1]).all()
    assert np.abs(voices[0]).max() <= 4
    still = Disguise(mirror=0, contrast=0, brightness=0, loudness=0, tilt=0, warp=0, noise=0)
    assert (disguise_pictures(np.random.default_rng(7), pictures, still) == pictures).all()
    assert np.allclose(disguise_mel(np.random.default_rng(7), mel, still), mel)

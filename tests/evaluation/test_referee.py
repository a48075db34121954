"""A mouth that follows its speech is believed, at the right moment; one that does not is not."""

import numpy as np
import pytest

from anchor.evaluation.referee import ask_referee, see_landmarks, see_mouth


@pytest.fixture(scope="module")
def clip(speakers):
    entry = speakers.clips[-1]
    return speakers.read_frames(entry, range(entry.num_frames)), speakers.read_mel(entry)


def test_a_real_mouth_fits_its_own_speech(speakers):
    seen = []
    for entry in speakers.clips[-4:]:
        seen.append(see_mouth(speakers.read_frames(entry, range(entry.num_frames)), speakers.read_mel(entry)))
        verdict = ask_referee(seen[-1:])
        assert abs(verdict.offset_frames) <= 1
        assert verdict.prefers_true


@pytest.mark.parametrize("late", [-8, 8])
def test_the_offset_has_its_sign(clip, late):
    faces, mel = clip
    verdict = ask_referee([see_mouth(faces, mel, first_frame=-late)])
    assert abs(verdict.offset_frames - late) <= 1  # above 0 the sound is late
    assert not verdict.prefers_true
    assert verdict.margin < 0


def test_a_mouth_that_ignores_the_speech_is_not_believed(clip, speakers):
    other = speakers.read_mel(speakers.clips[0])[::-1]
    verdict = ask_referee([see_mouth(clip[0], other)])
    own = ask_referee([see_mouth(*clip)])
    assert verdict.at_true < own.at_true / 2
    still = ask_referee([see_mouth(np.repeat(clip[0][:1], 60, 0), clip[1])])
    assert still is None or not still.prefers_true


def test_landmarks_serve_as_well_as_pixels(clip, speakers):
    opening = np.array(speakers.read_meta(speakers.clips[-1])["truth"]["opening"])
    points = np.stack([np.zeros_like(opening), opening], 1)[:, None]
    verdict = ask_referee([see_landmarks(points, clip[1])])
    assert abs(verdict.offset_frames) <= 1
    assert verdict.prefers_true
    points[30:32] = np.nan
    seen = see_landmarks(points, clip[1])
    assert [stretch.start for stretch in seen.stretches] == [0, 32]
    assert seen.num_frames == 30 + len(points) - 32


def test_too_little_is_no_verdict(clip):
    assert ask_referee([see_mouth(clip[0][:30], clip[1])]) is None
    assert ask_referee([]) is None

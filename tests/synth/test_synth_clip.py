import hashlib
import itertools
import subprocess
import sys

import cv2
import numpy as np
import pytest

from anchor.speech.visemes import is_closure
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip
from anchor.synth.stage import LANDMARKS
from anchor.synth.utterance import resample

DIGEST = """
import hashlib
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip
clip = make_clip(draw_person(5, 1), 0, seconds=0.6, size=128)
print(hashlib.sha256(b"".join(f.tobytes() for f in clip.frames()) + clip.samples.tobytes()).hexdigest())
"""


def test_the_same_seed_gives_the_same_bits_in_every_process():
    digest = subprocess.check_output([sys.executable, "-c", DIGEST], text=True).strip()
    make_clip(draw_person(9, 9), 0, seconds=0.4, size=96)  # something else happened before
    clip = make_clip(draw_person(5, 1), 0, seconds=0.6, size=128)
    here = hashlib.sha256(b"".join(frame.tobytes() for frame in clip.frames()) + clip.samples.tobytes()).hexdigest()
    assert here == digest


def test_different_seeds_look_and_sound_different():
    pictures = [next(make_clip(draw_person(seed, 0), 0, seconds=0.2, size=96).frames()) for seed in range(6)]
    for first in range(6):
        for second in range(first):
            assert np.abs(pictures[first].astype(int) - pictures[second]).mean() > 12
    takes = [make_clip(draw_person(0, 0), take, seconds=0.5, size=96) for take in (0, 1)]
    assert takes[0].utterance.text != takes[1].utterance.text


def test_held_out_people_are_other_people():
    assert not np.array_equal(draw_person(0, 0).look.skin, draw_person(0, 0, held_out=True).look.skin)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_lips_are_closed_in_the_picture_at_p_b_m(language):
    clip = make_clip(draw_person(2, 0, language), 0, seconds=4, size=96)
    phonemes = clip.utterance.phonemes
    seen = 0
    for (name, start_s), (_, end_s) in itertools.pairwise(phonemes):
        frame = round((start_s + end_s) / 2 * 25)
        if is_closure(name) and frame < len(clip.mouth) and abs(frame / 25 - (start_s + end_s) / 2) < 0.008:
            assert clip.mouth[frame, 0] < 0.12
            seen += 1
    assert seen >= 2


def test_landmarks_lie_in_the_box_and_follow_the_opening():
    clip = make_clip(draw_person(3, 0), 0, seconds=3, size=256)
    truth = clip.truth()
    points = np.array(truth["landmarks"])
    boxes = np.array(truth["boxes"])
    name = {landmark: number for number, landmark in enumerate(LANDMARKS)}
    mouth = points[:, [name["mouth_left"], name["mouth_right"], name["upper_lip_outer"], name["lower_lip_outer"]]]
    assert (mouth >= boxes[:, None, :2]).all()
    assert (mouth <= boxes[:, None, 2:] + 1).all()
    height = (mouth[:, :2, 1].mean(axis=1) - boxes[:, 1]) / (boxes[:, 3] - boxes[:, 1])
    assert 0.74 < np.median(height) < 0.82
    gap = points[:, name["lower_lip_inner"], 1] - points[:, name["upper_lip_inner"], 1]
    assert np.corrcoef(gap, truth["opening"])[0, 1] > 0.98


def test_the_picture_shows_the_mouth_where_the_truth_says():
    """Between two pictures that differ only in the mouth, the difference lies at the truth's lips."""
    clip = make_clip(draw_person(4, 0), 0, seconds=1, size=192)
    stage, motion, _ = clip.shots[0]
    frame, rest = 5, np.array([0.02, 0, 0, 0, 0], np.float32)
    wide = np.array([0.9, 0, 0, 0.5, 0.2], np.float32)
    change = np.abs(stage.draw(motion, frame, wide).astype(int) - stage.draw(motion, frame, rest)).sum(axis=2)
    change = cv2.GaussianBlur(change.astype(np.float32), (0, 0), 2)
    left, right, top, inner_top, inner_bottom, bottom, chin = stage.landmarks(motion, frame, wide)[3:]
    change = change[: round((bottom[1] + chin[1]) / 2)]  # the chin moves as well
    ys, xs = np.nonzero(change > 0.5 * change.max())
    assert left[0] - 2 <= xs.min()
    assert xs.max() <= right[0] + 2
    assert top[1] - 4 <= ys.min()
    assert ys.max() <= bottom[1] + 4
    assert inner_top[1] < np.median(ys) < inner_bottom[1]


def test_silence_is_a_closed_mouth_and_a_quiet_sound():
    clip = make_clip(draw_person(1, 0), 0, seconds=4, size=96, silence=0.5)
    silent = clip.is_silent
    assert 0.2 < silent.mean() < 0.6
    assert clip.mouth[silent, 0].max() < 0.08
    per_frame = clip.samples[: len(silent) * 640].reshape(len(silent), 640)
    loudness = np.sqrt((per_frame**2).mean(axis=1))
    assert loudness[silent].max() < 0.03 * np.median(loudness[~silent])


def test_a_clip_can_be_wholly_silent():
    clip = make_clip(draw_person(1, 0), 0, seconds=1, size=96, silence=1.0)
    assert np.abs(clip.samples).max() < 0.02
    assert clip.mouth[:, 0].max() < 0.03


def test_the_offset_moves_the_sound_and_leaves_the_picture():
    person = draw_person(6, 0, "en")
    for offset_ms in (200, -120):
        clip = make_clip(person, 0, seconds=1, size=96, offset_ms=offset_ms)
        shown_from = round(clip.lead_s * 16000)
        spoken = clip.utterance.samples[shown_from : shown_from + 16000]
        lag = np.argmax(np.correlate(clip.samples, spoken, "full")) - (len(spoken) - 1)
        assert abs(lag / 16 - offset_ms) < 1


def test_a_cut_changes_the_picture_at_once():
    clip = make_clip(draw_person(0, 0), 0, seconds=1, size=96, cut=True)
    frames = np.stack(list(clip.frames())).astype(int)
    change = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert np.argmax(change) + 1 == clip.truth()["cut_frames"][0] == 12
    assert change.max() > 4 * np.median(change)


def test_the_face_can_be_missing():
    clip = make_clip(draw_person(0, 0), 0, seconds=3, size=96, missing_face_s=1.0)
    has_face = clip.truth()["has_face"]
    assert 25 <= has_face.count(False) <= 42
    assert has_face[0]
    assert has_face[-1]
    stage, motion, _ = clip.shots[0]
    gone = has_face.index(False) + 12
    picture = stage.draw(motion, gone, clip.mouth[gone])
    assert np.abs(picture.astype(int) - stage._backdrop).mean() < 6  # the room and sensor noise


def test_frames_are_drawn_at_their_own_time():
    slow, fast = (make_clip(draw_person(0, 0), 0, seconds=2, size=96, fps=fps) for fps in (25, 75))
    assert np.allclose(slow.mouth, fast.mouth[1::3])  # the middle of the time that a frame is seen


def test_resampling_keeps_time_and_loudness():
    time_s = np.arange(22050) / 22050
    tone = np.sin(2 * np.pi * 440 * time_s).astype(np.float32) * np.hanning(22050).astype(np.float32)
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000) * np.interp(
        np.arange(16000) / 16000, time_s, np.hanning(22050)
    )
    assert np.abs(resample(tone, 22050, 16000) - expected).max() < 1e-3

"""The ruler for mouths: a perfect generator gets about 1, one that ignores the speech about 0."""

import numpy as np
import pytest
import torch
from torch import nn

from anchor.evaluation.clips import ClipShelf, Pair, choose_clips, pair_up
from anchor.evaluation.measures import mouth_box
from anchor.evaluation.mouths import measure_speed, score_pair, sum_up
from anchor.evaluation.opening import read_openings, teach_reader
from anchor.ops.images import lower_half, to_signed
from anchor.timing import mel_window

SIZE = 64


class Playback(nn.Module):
    """A stand-in for a perfect generator: it knows the speech by heart and plays the real mouth that spoke it."""

    def __init__(self, source, clips, shift=0):
        super().__init__()
        self.image_size, self.mouths = SIZE, {}
        for clip in clips:
            faces = source.read_frames(clip, range(clip.num_frames))
            mouths = lower_half(to_signed(torch.from_numpy(np.roll(faces, shift, 0)).permute(0, 3, 1, 2)))
            mel = source.read_mel(clip)
            self.mouths |= {mel_window(mel, frame).tobytes(): mouths[frame] for frame in range(clip.num_frames)}

    def forward(self, face_N6HW, mel_N1MS):
        still = next(iter(self.mouths.values()))  # in silence
        return torch.stack([self.mouths.get(window.numpy().tobytes(), still) for window in mel_N1MS[:, 0]])


@pytest.fixture(scope="module")
def reader(speakers):
    torch.set_num_threads(1)
    return teach_reader(speakers, 220, 0, torch.device("cpu"))


@pytest.fixture(scope="module")
def held_out(speakers):
    return choose_clips(speakers, "val", 10, 0)


def _score(generator, source, clips, reader):
    shelf = ClipShelf(source, SIZE, 500)
    results = [score_pair(generator, shelf, pair, reference="shifted", reader=reader) for pair in pair_up(clips, 500)]
    return sum_up(results)[0]


def test_the_reader_reads_real_held_out_mouths(speakers, held_out, reader):
    for clip in held_out:
        truth = speakers.read_meta(clip)["truth"]["opening"]
        read = read_openings(reader, speakers.read_frames(clip, range(clip.num_frames)))
        assert np.corrcoef(read, truth)[0, 1] > 0.75


def test_the_reader_is_the_same_for_the_same_seed(speakers):
    face = speakers.read_frames(speakers.clips[0], range(5))
    first, second = (read_openings(teach_reader(speakers, 3, 7, torch.device("cpu")), face) for _ in range(2))
    assert (first == second).all()


def test_a_perfect_generator_scores_like_real_people(speakers, held_out, reader):
    scores = _score(Playback(speakers, held_out), speakers, held_out, reader)
    assert scores["self/mouth_psnr"] == pytest.approx(60, abs=0.1)
    assert scores["self/lower_ssim"] > 0.999
    assert scores["self/jitter_ratio"] == pytest.approx(1, abs=1e-3)
    assert scores["self/sharpness_ratio"] == pytest.approx(1, abs=1e-3)
    assert scores["self/held_share"] == 0  # nothing but speech moves this mouth
    assert scores["dub/opening_r"] == pytest.approx(scores["real/opening_r"], abs=0.02)
    assert scores["dub/opening_r"] > 0.8
    assert abs(scores["dub/opening_r_control"]) < 0.35  # four clips of 3 s, by chance
    assert scores["dub/motion_r"] == pytest.approx(scores["real/motion_r"], abs=0.05)


def test_a_generator_that_speaks_at_the_wrong_time_does_not(speakers, held_out, reader):
    scores = _score(Playback(speakers, held_out, shift=25), speakers, held_out, reader)
    assert abs(scores["dub/opening_r"]) < 0.4
    assert scores["real/opening_r"] > 0.8


def test_copying_the_reference_is_the_score_to_beat(speakers, held_out):
    class Copy(nn.Module):
        """A stand-in: draws the reference."""

        def forward(self, face_N6HW, mel_N1MS):
            return lower_half(face_N6HW[:, 3:])

    scores = _score(Copy(), speakers, held_out, None)
    assert scores["self/mouth_psnr"] == pytest.approx(scores["copy/mouth_psnr"], abs=1e-3)
    assert scores["self/held_share"] == 1  # speech has no part in it
    assert "dub/opening_r" not in scores


def test_strangers_speak_for_each_other(speakers, held_out):
    pairs = pair_up(held_out, 500)
    assert all(pair.face.speaker != pair.speech.speaker for pair in pairs)
    assert {pair.kind for pair in pairs} == {"other speaker"}
    assert pair_up(held_out[:1], 20)[0].shift == 10  # clips are cut there
    assert pair_up(held_out[:1], 500) == [
        Pair(held_out[0], held_out[0], "same clip, later", held_out[0].num_frames // 2)
    ]


def test_a_lone_clip_is_dubbed_with_its_own_later_speech(speakers, held_out, small_generator):
    scores = score_pair(
        Playback(speakers, held_out), ClipShelf(speakers, SIZE, 500), pair_up(held_out[:1], 500)[0], reference="fixed"
    ).scores
    assert scores["dub/motion_r"] < 1


def test_no_truth_no_reader(numbered_clips):
    assert teach_reader(numbered_clips(), 5, 0, torch.device("cpu")) is None


def test_the_mouth_box_holds_the_mouth():
    box = mouth_box(torch.arange(96 * 96).reshape(1, 96, 96))
    assert box.shape == (1, 32, 48)
    assert box[0, 0, 0] == 56 * 96 + 24


def test_speed_is_a_positive_number(small_generator):
    speed = measure_speed(small_generator.eval(), 32, 4, repeats=2)
    assert speed["speed/frames_per_second"] > 0
    assert speed["speed/one_frame_ms"] > 0


def test_frames_that_are_shown_to_the_generator_do_not_count(speakers, held_out):
    class Copy(nn.Module):
        """A stand-in: draws the reference."""

        def forward(self, face_N6HW, mel_N1MS):
            return lower_half(face_N6HW[:, 3:])

    shelf, pair = ClipShelf(speakers, SIZE, 500), pair_up(held_out, 500)[0]
    fixed = score_pair(Copy(), shelf, pair, reference="fixed").scores
    same = score_pair(Copy(), shelf, pair, reference="same").scores
    assert fixed["self/mouth_psnr"] < 35  # nothing of the frames at the reference, which would be 60
    assert same["self/mouth_psnr"] == pytest.approx(60, abs=0.1)

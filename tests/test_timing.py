import numpy as np
import pytest

from anchor.timing import MEL_FLOOR, WINDOW_MEL_STEPS, frame_span, mel_span, mel_steps, mel_window, window_centres


@pytest.mark.parametrize("frame", [0, 1, 2, 3, 17, 1000, 123_457])
def test_span_is_centred_on_the_frame_to_half_a_step(frame):
    start, stop = mel_span(frame)
    middle_of_window_s, middle_of_frame_s = (start + stop) / 2 / 80, (frame + 0.5) / 25
    assert stop - start == WINDOW_MEL_STEPS
    assert abs(middle_of_window_s - middle_of_frame_s) <= 0.5 / 80 + 1e-9


def test_five_frames_move_the_span_by_exactly_sixteen_steps():
    assert all(mel_span(frame + 5)[0] - mel_span(frame)[0] == 16 for frame in range(200))


def test_window_is_the_span_and_silence_outside_the_clip():
    mel_SM = np.repeat(np.arange(33, dtype=np.float32)[:, None], 80, axis=1)
    start, stop = mel_span(4)
    assert (mel_window(mel_SM, 4)[0] == np.arange(start, stop)).all()
    first = mel_window(mel_SM, 0)
    assert (first[:, : -mel_span(0)[0]] == MEL_FLOOR).all()
    assert (first[:, -mel_span(0)[0] :] >= 0).all()
    assert (mel_window(mel_SM, 500) == MEL_FLOOR).all()


@pytest.mark.parametrize(("frames", "steps"), [(5, 16), (16, 52), (25, 80)])
def test_a_longer_window_hears_all_of_its_frames_and_nothing_a_step_away(frames, steps):
    assert mel_steps(frames) == steps
    for frame in (8, 9, 12, 100):
        shown, (start, stop) = frame_span(frame, frames), mel_span(frame, frames)
        assert len(shown) == frames
        assert frame in shown
        assert abs(start / 80 - shown.start / 25) <= 0.5 / 80
        assert shown.stop / 25 - 0.5 / 80 <= stop / 80 <= shown.stop / 25 + 1.5 / 80
    assert mel_window(np.zeros((200, 80), np.float32), 20, frames).shape == (80, steps)


@pytest.mark.parametrize("frames", [5, 16])
def test_centres_are_those_whose_window_lies_within_the_clip(frames):
    for num_frames in (frames - 1, frames, frames + 7):
        inside = [
            c for c in range(-30, 60) if frame_span(c, frames).start >= 0 and frame_span(c, frames).stop <= num_frames
        ]
        assert list(window_centres(num_frames, frames)) == inside

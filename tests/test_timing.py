import numpy as np
import pytest

from anchor.timing import MEL_FLOOR, WINDOW_MEL_STEPS, mel_span, mel_window


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

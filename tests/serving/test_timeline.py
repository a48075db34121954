"""The timeline alone, on a clock of whole numbers."""

import numpy as np
import pytest

from anchor.ops.mel import log_mel
from anchor.serving.timeline import FALL, HURRY, RISE, START_SAMPLES, Timeline
from anchor.timing import SAMPLE_RATE, SAMPLES_PER_FRAME, mel_window


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    sound_L4 = np.random.default_rng(seed).normal(0, 0.1, (round(seconds * SAMPLE_RATE), 4)).astype(np.float32)
    sound_L4[:, :3] = sound_L4[:, 3:]
    return sound_L4


def play(timeline: Timeline, first: int, count: int):
    return [timeline.pop(k) for k in range(first, first + count)]


def test_speech_is_played_once_whole_and_in_order():
    timeline, speech = Timeline(), noise(1.0)
    for begin in range(0, len(speech), 777):
        timeline.say(speech[begin : begin + 777], 0, is_last=begin + 777 >= len(speech))
    ticks = play(timeline, 0, 40)
    heard = np.concatenate([tick.sound_L4 for tick in ticks])
    assert np.array_equal(heard[: len(speech)], speech)
    assert not heard[len(speech) :].any()
    assert [tick.number for tick in ticks] == list(range(40))
    assert [tick.is_speaking for tick in ticks] == [True] * 25 + [False] * 15


def test_a_mouth_hears_what_training_heard():
    """Frames whose window begins on a step of the offline mel hear exactly that; the others are at most 5 ms off."""
    timeline, speech = Timeline(), noise(1.0)
    timeline.say(speech, 0)
    ticks = play(timeline, 0, 25)
    offline_SM = log_mel(np.concatenate([speech[:, 3], np.zeros(8000, np.float32)]))
    for frame in (7, 12, 17):  # 3.2 * (frame - 2) is whole; the first frames of a file are padded differently
        np.testing.assert_allclose(ticks[frame].mel_MS, mel_window(offline_SM, frame), atol=2e-3)


def test_the_mouth_comes_and_goes_without_a_jump():
    timeline = Timeline()
    play(timeline, 0, 10)
    timeline.say(noise(0.4), 0)
    presence = [tick.presence for tick in play(timeline, 10, 40)]
    assert max(np.abs(np.diff([0.0, *presence]))) <= 1 / min(RISE, FALL) + 1e-6
    assert max(presence) == 1.0
    assert presence[-1] == 0.0
    first = next(i for i, value in enumerate(presence) if value > 0)
    assert first == HURRY  # silence that was planned before the speech came gives way


def test_a_mouth_after_a_pause_hears_the_pause_and_no_more():
    speech, played = noise(0.4), []
    for pause in (0, 10, 25):
        timeline = Timeline()
        play(timeline, 0, pause)
        timeline.say(speech, 0)
        played.append([tick for tick in play(timeline, pause, 40) if tick.is_speaking])
    for ticks in played[1:]:
        assert len(ticks) == len(played[0])
        for ours, theirs in zip(ticks, played[0], strict=True):
            assert np.array_equal(ours.sound_L4, theirs.sound_L4)
            assert np.array_equal(ours.mel_MS, theirs.mel_MS)


def test_an_interruption_leaves_nothing_of_what_was_said_before():
    timeline = Timeline()
    timeline.say(noise(5.0), 0)
    play(timeline, 0, 20)
    dropped = timeline.interrupt()
    assert dropped == pytest.approx(5.0 - 20 * 0.04)
    after = play(timeline, 20, 10)
    assert not np.concatenate([tick.sound_L4 for tick in after]).any()
    assert {tick.epoch for tick in after} == {1}
    assert [tick.presence > 0 for tick in after] == [True] * (FALL - 1) + [False] * (11 - FALL)  # the mouth closes
    assert not timeline.say(noise(1.0), 0), "speech of the old epoch is refused"
    assert timeline.say(noise(1.0), 1)
    assert any(tick.is_speaking for tick in play(timeline, 30, 10))


def test_after_an_interruption_the_mouth_hears_what_was_heard_and_no_more():
    interrupted, plain = Timeline(), Timeline()
    speech = noise(2.0)
    interrupted.say(speech, 0)
    plain.say(speech[: 12 * SAMPLES_PER_FRAME], 0)
    play(interrupted, 0, 12)
    play(plain, 0, 12)
    interrupted.interrupt()
    np.testing.assert_allclose(interrupted.pop(12).mel_MS, plain.pop(12).mel_MS, atol=1e-4)


def test_a_stream_begins_with_some_in_hand_and_survives_running_dry():
    timeline = Timeline()
    timeline.say(noise(0.1), 0, is_last=False)
    assert not any(tick.is_speaking for tick in play(timeline, 0, 10)), "too little to begin with"
    assert timeline.num_starved == 0
    timeline.say(noise(0.3), 0, is_last=False)
    assert START_SAMPLES <= 0.4 * SAMPLE_RATE
    spoken = play(timeline, 10, 20)
    assert sum(tick.is_speaking for tick in spoken) == 10
    assert timeline.num_starved > 0
    timeline.say(noise(0.02), 0, is_last=True)
    assert sum(tick.is_speaking for tick in play(timeline, 30, 10)) == 1
    starved = timeline.num_starved
    play(timeline, 40, 10)
    assert timeline.num_starved == starved, "an utterance that ended cannot starve"


def test_a_late_clock_leaves_ticks_out_and_goes_on():
    timeline = Timeline()
    timeline.say(noise(2.0), 0)
    play(timeline, 0, 5)
    tick = timeline.pop(15)
    assert tick.number == 15
    assert timeline.pop(16).number == 16


@pytest.mark.parametrize("length", [0, 1, 639, 641])
def test_odd_lengths_are_completed_with_silence(length):
    timeline, speech = Timeline(), noise(1.0)[:length]
    timeline.say(speech, 0)
    heard = np.concatenate([tick.sound_L4 for tick in play(timeline, 0, 10)])
    assert np.array_equal(heard[:length], speech)
    assert not heard[length:].any()

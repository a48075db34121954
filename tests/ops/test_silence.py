import numpy as np
import pytest

from anchor.errors import ConfigError
from anchor.ops.silence import close_pauses, floor_frames, quiet_steps, silent_frames, with_silence
from anchor.studio.performance import voice_presence


def speech(room=-3.0):
    """Two seconds with a pause from 0.8 to 1.4 s and a stop of 0.1 s at 0.4 s."""
    mel = np.zeros((161, 80), np.float32)
    mel[32:40] = mel[64:112] = room
    return mel


def test_a_pause_is_silent_and_a_stop_is_not():
    silent = silent_frames(speech(), 50)
    assert np.flatnonzero(silent).tolist() == list(range(22, 33))
    assert quiet_steps(speech()).sum() == 56


def test_a_recording_without_speech_is_silent_from_end_to_end_and_a_quiet_voice_is_not():
    assert silent_frames(np.full((161, 80), -3.2, np.float32), 50).all()
    assert not silent_frames(np.full((161, 80), -2.0, np.float32), 50).any()
    assert silent_frames(np.zeros((0, 80), np.float32), 5).all()


def test_pauses_are_closed_but_for_their_ends_and_stops_stay():
    mel = speech()
    closed = close_pauses(mel)
    assert (closed[70:106] == -4).all()
    assert np.array_equal(np.delete(closed, range(70, 106), 0), np.delete(mel, range(70, 106), 0))
    assert (mel[70] == -3).all()  # what came in is left alone
    assert (close_pauses(np.full((161, 80), -3.2, np.float32)) == -4).all()


def test_a_generator_hears_pauses_closed_or_as_they_are():
    assert np.array_equal(with_silence(speech(), "close"), close_pauses(speech()))
    assert np.array_equal(with_silence(speech(), "heard"), speech())
    with pytest.raises(ConfigError, match="close, heard"):
        with_silence(speech(), "shut")


def test_in_a_closed_pause_a_mouth_rests_though_the_room_is_loud():
    closed = close_pauses(speech())
    assert np.flatnonzero(floor_frames(closed, 50)).tolist() == list(range(22, 33))  # steps 70 to 105
    assert not floor_frames(speech(), 50).any()
    heard = np.zeros((321, 80), np.float32)
    heard[100:220] = -3.0  # a room, from 1.25 to 2.75 s
    room = 0.1 * np.random.default_rng(0).standard_normal(64_000).astype(np.float32)
    assert (voice_presence(room, 100, heard)[5:95] == 1).all()
    presence = voice_presence(room, 100, close_pauses(heard))
    assert (presence[5:30] == 1).all()
    assert (presence[42:58] == 0).all()

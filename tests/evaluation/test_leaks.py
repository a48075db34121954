"""The scores of silence, where there is a leak to be seen: a mouth that opens though nothing is said."""

import numpy as np
import pytest
from torch import nn

from anchor.batch import ClipEntry
from anchor.evaluation.board import Board
from anchor.evaluation.clips import ClipShelf, Pair
from anchor.evaluation.drawing import draw_pair
from anchor.evaluation.measures import silent_frames
from anchor.evaluation.mouths import Judges, score_drawn
from anchor.timing import FPS, MEL_FLOOR

SIZE = 32
SOUND, ROOM = 1.0, -3.5  # mel units: speech, and the room that is heard in its pauses, 56 dB below


class TalksAndPauses:
    """A stand-in for shards: a mouth that is as bright as it is open, over speech with a pause of 2 s in a room.

    The head sways, so the mouth's picture changes in pauses too.
    """

    def __init__(self):
        self.clips = [ClipEntry("talk", "one", "val", 6 * FPS, 0)]
        count = self.clips[0].num_frames
        self.speaks_T = (np.arange(count) < 2 * FPS) | (np.arange(count) >= 4 * FPS)
        self.opening_T = self.speaks_T * (0.5 - 0.5 * np.cos(np.arange(count) * 2 * np.pi / 8))

    def read_frames(self, clip, frames):
        pictures = np.full((len(frames), SIZE, SIZE, 3), 20, np.uint8)
        for picture, frame in zip(pictures, frames, strict=True):
            picture[SIZE // 2 :] += np.uint8(200 * self.opening_T[frame])
            picture[:, frame % 7] += 3
        return pictures

    def read_mel(self, clip):
        steps = np.arange(clip.num_frames * 16 // 5 + 1)
        speaks_S = self.speaks_T[np.minimum(steps * 5 // 16, clip.num_frames - 1)]
        return np.repeat(np.where(speaks_S, SOUND, ROOM)[:, None], 80, 1).astype(np.float32)

    def read_audio(self, clip):
        return np.zeros(clip.num_frames * 640, np.float32)

    def read_meta(self, clip):
        return {}


class Mouth(nn.Module):
    """A stand-in for a generator: how wide the mouth is at ``silence``, at the sound of a ``room``, and of speech."""

    image_size = SIZE

    def __init__(self, silence, room, speech=0.9):
        super().__init__()
        self.silence, self.room, self.speech = silence, room, speech

    def forward(self, face_N6HW, mel_N1MS):
        level_N = mel_N1MS.amax((1, 2, 3))
        wide_N = (level_N > MEL_FLOOR + 0.01) * (self.room - self.silence) + self.silence
        wide_N = wide_N + (level_N > 0) * (self.speech - self.room)
        mouth = face_N6HW[:, 3:, SIZE // 2 :]
        return mouth * 0 + (2 * (20 + 200 * wide_N) / 255 - 1)[:, None, None, None]


class Brightness(nn.Module):
    """A stand-in for the reader of openings."""

    def forward(self, mouths_N3hW):
        return mouths_N3hW.mean((1, 2, 3))


def _leaks(mouth, reader):
    source = TalksAndPauses()
    entry = source.clips[0]
    pair = Pair(entry, entry, "same clip, later", entry.num_frames // 2)
    shelf = ClipShelf(source, SIZE, 500)
    drawn = draw_pair(mouth, shelf, pair, reference="fixed")
    return score_drawn(Board(), drawn, shelf, pair, Judges(reader=reader), ("silence",))


def test_the_material_has_a_pause():
    source = TalksAndPauses()
    pauses = silent_frames(source.read_mel(source.clips[0]), source.clips[0].num_frames)
    assert pauses.sum() == 2 * FPS - 2 * 5  # 0.2 s at either end are the mouth's to close and to open
    assert not pauses[: 2 * FPS].any()


def test_a_mouth_that_opens_at_the_sound_of_a_room_is_caught_and_silence_close_shuts_it():
    scores = _leaks(Mouth(silence=0.0, room=0.8), Brightness())
    assert scores["pause/leak"] == 1
    assert scores["pause/leak_closed"] < 0.1  # sounds near the pause's ends are still heard
    assert scores["silence/leak"] == 0
    assert scores["real/pause_leak"] == 0
    assert scores["real/open_share"] > 0.3  # what a mouth that speaks all the time would get


def test_a_mouth_that_gapes_at_nothing_is_caught_and_nothing_shuts_it():
    scores = _leaks(Mouth(silence=0.8, room=0.8), Brightness())
    assert scores["silence/leak"] == scores["pause/leak"] == scores["pause/leak_closed"] == 1


def test_a_mouth_that_rests_has_no_leak():
    scores = _leaks(Mouth(silence=0.0, room=0.0), Brightness())
    assert scores["silence/leak"] == scores["pause/leak"] == scores["pause/leak_closed"] == 0


class Chattering(Mouth):
    """A stand-in that opens and shuts its mouth in turn while it hears the room."""

    def forward(self, face_N6HW, mel_N1MS):
        drawn = super().forward(face_N6HW, mel_N1MS)
        hears_room_N = (mel_N1MS.amax((1, 2, 3)) > MEL_FLOOR + 0.01) & (mel_N1MS.amax((1, 2, 3)) < 0)
        drawn[hears_room_N.nonzero().flatten()[::2]] = -0.8
        return drawn


@pytest.mark.parametrize(("mouth", "leak"), [(Chattering(0.0, 0.8), 1), (Mouth(0.0, 0.0), 0)])
def test_without_openings_a_leak_is_movement(mouth, leak):
    scores = _leaks(mouth, None)
    assert scores["pause/pixel_leak"] == pytest.approx(leak, abs=0.05)
    assert scores["pause/pixel_leak_closed"] < 0.1
    assert scores["silence/pixel_leak"] == 0
    assert "pause/leak" not in scores

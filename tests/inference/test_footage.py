"""A long video is not kept: it is read again, in the very same pictures."""

import numpy as np
import pytest

from anchor.errors import MediaError
from anchor.faces import FaceTrack
from anchor.inference import Dubber
from anchor.inference.footage import Footage, read_footage, read_pictures
from anchor.inference.store import FrameStore

MEL = np.zeros((400, 80), np.float32)


def _dub(footage, generator, num_out, reference="fixed"):
    track = FaceTrack(np.tile(np.float32([60, 30, 142, 130]), (len(footage), 1)), np.zeros(len(footage), np.int32), 1.0)
    return list(Dubber(generator.eval(), footage, track, reference=reference, batch_size=4).frames(MEL, num_out))


@pytest.mark.parametrize("reference", ["fixed", "shifted", "same"])
def test_streaming_draws_what_keeping_draws(face_video, picture, stand_in_detector, small_generator, reference):
    path = face_video(13)
    kept, _ = read_footage(path, stand_in_detector, 10)
    streamed, _ = read_footage(path, stand_in_detector, 10, memory_bytes=3 * picture.nbytes)
    assert (len(kept), len(streamed)) == (10, 10)
    for left, right in zip(
        _dub(kept, small_generator, 10, reference), _dub(streamed, small_generator, 10, reference), strict=True
    ):
        assert np.abs(left.astype(int) - right).max() == 0
    assert len(streamed._store) == 3  # what does not fit was read again and not stored anywhere


def test_turning_back_needs_the_disk_and_no_second_reading(
    face_video, picture, stand_in_detector, small_generator, monkeypatch
):
    path = face_video(7)
    starts = []
    monkeypatch.setattr("anchor.inference.footage.read_pictures", lambda path: starts.append(1) or read_pictures(path))
    kept, _ = read_footage(path, stand_in_detector, 30)
    footage, _ = read_footage(path, stand_in_detector, 30, memory_bytes=2 * picture.nbytes)
    starts.clear()
    for left, right in zip(_dub(kept, small_generator, 30), _dub(footage, small_generator, 30), strict=True):
        assert np.abs(left.astype(int) - right).mean() < 1.5  # JPEG
    assert len(starts) == 1
    assert len(footage._store) == 7


def test_a_file_that_shrinks_meanwhile_is_named(face_video):
    with pytest.raises(MediaError, match=r"face\.mp4: picture 9 was there and is gone"):
        Footage(face_video(5), FrameStore(), 12, is_repeated=False)[9]


def test_a_full_disk_is_a_sentence(picture, monkeypatch, tmp_path):
    class FullDisk:
        def seek(self, *_):
            return 0

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("anchor.inference.store.tempfile.TemporaryFile", FullDisk)
    with pytest.raises(MediaError, match=r"No space left on device.*set TMPDIR"):
        FrameStore(0).append(picture)

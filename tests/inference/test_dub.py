"""`anchor infer`, on pictures we make and on a real clip."""

import cv2
import numpy as np
import pytest

from anchor.faces import FaceTrack
from anchor.inference import Dubber, infer
from anchor.inference.footage import read_footage
from anchor.inference.store import FrameStore
from anchor.media.audio import read_audio
from anchor.media.reader import probe, read_video_25fps

MEL = np.zeros((400, 80), np.float32)


def _frames(path):
    return [frame for _, frame in read_video_25fps(path)]


@pytest.mark.parametrize("seconds", [1.0, 1.013, 0.3])
def test_the_video_is_as_long_as_the_speech(
    seconds, tmp_path, small_generator, save_network, stand_in_detector, face_video, speech
):
    out = tmp_path / "new" / "out.mp4"
    infer(face=face_video(), speech=speech(seconds), checkpoint=save_network(small_generator), out=out, device="cpu")
    frames = _frames(out)
    assert len(frames) == int(np.ceil(seconds * 25 - 1e-6))
    assert frames[0].shape == (160, 200, 3)
    assert abs(len(read_audio(out)) / 16_000 - seconds) < 0.07  # AAC ends on a packet of 64 ms at most
    assert probe(out).fps == 25


def test_a_short_video_runs_back_and_forth(
    tmp_path, small_generator, save_network, stand_in_detector, face_video, speech
):
    out = tmp_path / "out.mp4"
    infer(face=face_video(5), speech=speech(0.4), checkpoint=save_network(small_generator), out=out, device="cpu")
    light = [frame[:20].mean() for frame in _frames(out)]
    assert np.sign(np.diff(light)).tolist() == [1, 1, 1, 1, -1, -1, -1, -1, 1]


def test_a_still_picture_speaks(tmp_path, small_generator, save_network, stand_in_detector, picture, speech):
    still = tmp_path / "ä.png"
    still.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    out = tmp_path / "out.mp4"
    infer(face=still, speech=speech(0.5, rate=44_100), checkpoint=save_network(small_generator), out=out, device="cpu")
    frames = _frames(out)
    assert len(frames) == 13
    assert np.abs(frames[3][:20].astype(int) - picture[:20]).mean() < 3  # far from the mouth nothing but compression


def _store(pictures):
    store = FrameStore()
    for frame in pictures:
        store.append(frame)
    return store


def test_frames_without_a_face_keep_their_bytes(small_generator, picture):
    boxes = np.full((6, 4), np.nan, np.float32)
    boxes[:3] = (60, 30, 142, 130)
    track = FaceTrack(boxes, np.array([0, 0, 0, -1, -1, -1], np.int32), 1.0)
    dubber = Dubber(small_generator.eval(), _store([picture] * 6), track, batch_size=4)
    frames = list(dubber.frames(MEL, 6))
    assert [bool((frame == picture).all()) for frame in frames] == [False] * 3 + [True] * 3
    assert dubber.num_kept == 3
    assert all((dubber.store[i] == picture).all() for i in range(6))  # the originals are not painted on


@pytest.mark.parametrize("reference", ["shifted", "fixed", "same"])
def test_every_reference_works_and_crops_are_cut_once(reference, small_generator, picture, monkeypatch):
    track = FaceTrack(np.tile(np.float32([60, 30, 142, 130]), (4, 1)), np.zeros(4, np.int32), 1.0)
    cuts = []
    from anchor.faces import crop_face

    monkeypatch.setattr("anchor.inference.dubber.crop_face", lambda *a: cuts.append(1) or crop_face(*a))
    dubber = Dubber(small_generator.eval(), _store([picture] * 4), track, reference=reference)
    assert len(list(dubber.frames(MEL, 20))) == 20
    assert len(cuts) == 4


def test_what_does_not_fit_into_memory_goes_to_disk(picture):
    store = FrameStore(memory_bytes=2 * picture.nbytes)
    pictures = [np.roll(picture, 5 * i, axis=1) for i in range(5)]
    for frame in pictures:
        store.append(frame)
    assert len(store) == 5
    for i in (4, 0, 3, 1, 2):
        assert np.abs(store[i].astype(int) - pictures[i]).mean() < (0.01 if i < 2 else 1.5)


def test_only_the_frames_that_are_shown_are_read(face_video, stand_in_detector):
    store, track = read_footage(face_video(13), stand_in_detector, 6)
    assert len(store) == len(track.ids) == 6


def test_a_failure_in_the_middle_leaves_no_file(
    tmp_path, small_generator, save_network, stand_in_detector, face_video, speech, monkeypatch
):
    calls = []

    def fail_later(*arguments):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("the card was pulled out")
        return arguments[1]

    monkeypatch.setattr("anchor.inference.dubber.draw_frames", fail_later)
    checkpoint = save_network(small_generator)
    with pytest.raises(RuntimeError, match="pulled out"):
        infer(face=face_video(), speech=speech(2.0), checkpoint=checkpoint, out=tmp_path / "out.mp4", device="cpu")
    assert not list(tmp_path.glob("*out*"))


def test_a_real_clip_speaks(data_dir, tmp_path, small_generator, save_network, speech, monkeypatch):
    monkeypatch.setenv("ANCHOR_MODELS", str(data_dir / "models"))
    face, out = data_dir / "data/clips/p04_woman_512px_25fps.mp4", tmp_path / "out.mp4"
    infer(
        face=face, speech=speech(1.0), checkpoint=save_network(small_generator), out=out, device="cpu", detector="yunet"
    )
    real = [frame for (_, frame), _ in zip(read_video_25fps(face), range(25), strict=False)]
    change = np.mean(
        [np.abs(new.astype(int) - old).mean(-1) for new, old in zip(_frames(out), real, strict=True)], axis=0
    )
    assert change.max() > 5  # a mouth was drawn
    assert np.median(change) < 3  # and most of the picture is only compressed

"""What cannot work ends in one sentence, with nothing written and nothing lost."""

import resource
import wave

import cv2
import numpy as np
import pytest
import torch

from anchor.__main__ import main
from anchor.errors import AnchorError, CheckpointError, ConfigError, FaceError, MediaError
from anchor.inference import infer


@pytest.fixture
def files(tmp_path):
    return lambda: {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def _write_still(path, picture):
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return path


def test_faces_that_are_none(good, tmp_path, files, speech):
    noise, zero, text = tmp_path / "noise.mp4", tmp_path / "zero.mp4", tmp_path / "text.txt"
    noise.write_bytes(b"no video" * 100)
    zero.touch()
    text.write_text("not a video")
    dark = _write_still(tmp_path / "dark.png", np.zeros((80, 80, 3), np.uint8))
    before = files()
    for face, kind, words in [
        (tmp_path / "missing.mp4", MediaError, r"missing\.mp4 does not exist"),
        (tmp_path, MediaError, "is a folder"),
        (noise, MediaError, r"noise\.mp4 is no video"),
        (zero, MediaError, r"zero\.mp4 has zero bytes"),
        (text, MediaError, r"text\.txt"),
        (good["speech"], MediaError, "holds no picture"),
        (
            dark,
            FaceError,
            r"dark\.png: none of its 1 frames shows a face .* Give a picture of one person from the front",
        ),
    ]:
        with pytest.raises(kind, match=words) as caught:
            infer(**{**good, "face": face})
        assert "\n" not in str(caught.value)
    assert files() == before


def test_checkpoints_that_are_no_generators(good, tmp_path, small_expert, save_network):
    rubbish, foreign = tmp_path / "rubbish.ckpt", tmp_path / "foreign.pt"
    rubbish.write_bytes(b"weights" * 50)
    torch.save({"state_dict": {}}, foreign)
    for checkpoint, words in [
        (tmp_path / "missing.ckpt", "no such checkpoint"),
        (save_network(small_expert, "expert.ckpt"), "a generator is needed"),
        (rubbish, "rubbish.ckpt"),
        (foreign, "foreign.pt"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            infer(**{**good, "checkpoint": checkpoint})


def test_a_missing_detector_model_says_where_it_was_looked_for(good, tmp_path, monkeypatch):
    from anchor.faces import make_detector

    monkeypatch.setattr("anchor.inference.dub.make_detector", make_detector)
    monkeypatch.setenv("ANCHOR_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(AnchorError, match=r"ANCHOR_MODELS"):
        infer(**good, detector="insightface")


def test_places_that_cannot_be_written(good, tmp_path, files):
    before = files()
    for change, words in [
        ({"out": tmp_path / "out.avi"}, r"ends in \.mp4"),
        ({"out": tmp_path / "out"}, r"ends in \.mp4, or output=frames"),
        ({"out": tmp_path}, "is a folder"),
        ({"out": good["face"]}, "also the input"),
        ({"out": good["face"] / "deep" / "out.mp4"}, "is a file, so no folder can be made"),
        ({"out": tmp_path / "x.mp4", "output": "frames"}, "is the name of a video"),
        ({"out": good["speech"], "output": "frames"}, "is a file"),
        ({"out": tmp_path, "output": "frames"}, "is not empty"),
    ]:
        with pytest.raises(MediaError, match=words):
            infer(**{**good, **change})
    for change in ({"batch_size": 0}, {"fade": -1}):
        with pytest.raises(ConfigError, match=r"makes no sense"):
            infer(**{**good, **change})
    assert files() == before


@pytest.mark.parametrize("output", ["video", "frames"])
def test_a_disk_that_is_full_is_a_sentence_and_leaves_no_half_file(good, tmp_path, output):
    out = tmp_path / "new" / ("out.mp4" if output == "video" else "frames")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, hard))
    try:
        with pytest.raises(MediaError, match="could not be written") as caught:
            infer(**{**good, "out": out, "output": output})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not [path for path in out.parent.rglob("*") if "partial" in path.name or path.suffix == ".mp4"]


@pytest.mark.parametrize("output", ["video", "frames"])
def test_ctrl_c_while_drawing(good, tmp_path, output, monkeypatch, capsys):
    from anchor.inference.draw import draw_frames

    calls = []

    def stop_later(*arguments):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return draw_frames(*arguments)

    monkeypatch.setattr("anchor.inference.dubber.draw_frames", stop_later)
    out = tmp_path / "new" / ("out.mp4" if output == "video" else "frames")
    words = [f"{key}={value}" for key, value in {**good, "out": out, "output": output, "batch_size": 4}.items()]
    assert main(["infer", *words]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "anchor infer: stopped by Ctrl-C."
    left = sorted(path.name for path in out.parent.rglob("*") if path.is_file())
    assert left == ([] if output == "video" else [*(f"{i:06d}.png" for i in range(8)), "frames.json", "speech.wav"])


def test_the_speech_is_named_before_the_face_is_read(good, tmp_path):
    with wave.open(str(tmp_path / "none.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
    with pytest.raises(MediaError, match=r"none\.wav"):
        infer(**{**good, "speech": tmp_path / "none.wav", "face": tmp_path / "missing.mp4"})

"""`output=frames`."""

import json
import wave

import cv2
import numpy as np
import pytest

from anchor.errors import MediaError
from anchor.inference import infer
from anchor.inference.folder import write_frames
from anchor.media.writer import write_video


def test_frames_speech_and_record(good, tmp_path, picture):
    dark_from = 6
    face = tmp_path / "gap.mp4"
    write_video(face, [picture] * dark_from + [np.zeros_like(picture)] * 30)
    out = tmp_path / "frames"
    infer(**{**good, "face": face, "out": out, "output": "frames", "fade": 2})
    assert sorted(path.name for path in out.glob("*.png")) == [f"{i:06d}.png" for i in range(13)]
    record = json.loads((out / "frames.json").read_text())
    assert (record["fps"], record["count"], record["complete"], record["face"]) == (25, 13, True, str(face))
    assert record["size"] == [200, 160]
    mouths = [frame["mouth"] for frame in record["frames"]]
    assert mouths == ["generated"] * dark_from + ["kept"] * (13 - dark_from)
    assert np.allclose([frame["presence"] for frame in record["frames"][:6]], [1, 1, 1, 1, 0.667, 0.333])
    assert np.allclose(record["frames"][2]["box"], (60, 30, 142, 130), atol=1)
    assert record["frames"][8]["box"] is None
    with wave.open(str(out / "speech.wav")) as file:
        assert file.getframerate() == 48_000
        assert file.getnframes() / 48_000 == pytest.approx(0.5, abs=0.001)
    first = cv2.imread(str(out / "000000.png"))[..., ::-1]
    assert np.abs(first[:20].astype(int) - picture[:20]).mean() < 2  # RGB, not BGR


def test_its_own_folder_is_written_anew(good, tmp_path, speech):
    out = tmp_path / "frames"
    infer(**{**good, "out": out, "output": "frames"})
    infer(**{**good, "out": out, "output": "frames", "speech": speech(0.2, name="short.wav")})
    assert len(list(out.glob("*.png"))) == 5
    assert json.loads((out / "frames.json").read_text())["count"] == 5


@pytest.mark.parametrize("name", ["notes.txt", "000000.png", "frames.json"])
def test_a_foreign_folder_is_left_alone(good, tmp_path, name):
    out = tmp_path / "mine"
    out.mkdir()
    (out / name).write_text("[1, 2]")
    with pytest.raises(MediaError, match=f"is not empty \\({name}\\)"):
        infer(**{**good, "out": out, "output": "frames"})
    assert (out / name).read_text() == "[1, 2]"
    assert len(list(out.iterdir())) == 1


def test_an_input_in_its_own_folder_is_not_deleted(good, tmp_path):
    out = tmp_path / "frames"
    infer(**{**good, "out": out, "output": "frames"})
    with pytest.raises(MediaError, match=r"holds the input 000000\.png"):
        infer(**{**good, "face": out / "000000.png", "out": out, "output": "frames"})
    assert (out / "000000.png").is_file()


def test_a_failure_keeps_what_was_written_and_the_record_knows(tmp_path, picture):
    def broken():
        yield picture
        yield picture
        raise RuntimeError("the card was pulled out")

    entries = [{"source": i} for i in range(9)]
    with pytest.raises(RuntimeError, match="pulled out"):
        write_frames(tmp_path / "f", broken(), 25, np.zeros(480, np.float32), 48_000, {}, entries)
    record = json.loads((tmp_path / "f" / "frames.json").read_text())
    assert (record["count"], record["complete"], len(record["frames"])) == (2, False, 2)
    assert len(list((tmp_path / "f").glob("*.png"))) == 2

"""Avatars of LiveTalking become ours: boxes in both orders, bounds, and nothing in the folder runs."""

import os
import pickle

import cv2
import numpy as np
import pytest
from small_avatars import FACE_BOX, StandInDetector

from anchor.__main__ import main
from anchor.avatars import Avatar
from anchor.avatars.livetalking import import_livetalking
from anchor.errors import AnchorError

X0, Y0, X1, Y1 = (int(side) for side in FACE_BOX)


@pytest.fixture
def foreign(tmp_path, picture):
    """A folder as its wav2lip writes one: 12 pictures that grow brighter."""
    folder = tmp_path / "wav2lip_avatar1"
    (folder / "full_imgs").mkdir(parents=True)
    (folder / "face_imgs").mkdir()
    for number in range(12):
        shown = np.clip(picture.astype(int) + number, 0, 255).astype(np.uint8)[..., ::-1]
        cv2.imwrite(str(folder / "full_imgs" / f"{number:08d}.png"), shown)
        cv2.imwrite(str(folder / "face_imgs" / f"{number:08d}.png"), cv2.resize(shown[Y0:Y1, X0:X1], (96, 96)))
    write_boxes(folder, [(Y0, Y1, X0, X1)] * 12)
    return folder


def write_boxes(folder, boxes):
    (folder / "coords.pkl").write_bytes(pickle.dumps(boxes))


@pytest.mark.parametrize("order", ["yyxx", "xyxy", "numpy"])
def test_an_avatar_is_taken_over(foreign, checkpoint, tmp_path, order, picture):
    box = (X0, Y0, X1, Y1) if order == "xyxy" else (Y0, Y1, X0, X1)
    write_boxes(foreign, [tuple(map(np.int64, box)) if order == "numpy" else box] * 12)
    out = tmp_path / "out"
    import_livetalking(path=foreign, checkpoint=checkpoint, out=out, device="cpu")
    avatar = Avatar.open(out)
    assert (avatar.name, avatar.size, len(avatar.idle.pictures)) == ("wav2lip_avatar1", (200, 160), 12)
    assert avatar.idle.facts.loop == "back_and_forth"
    assert not avatar.idle.facts.has_rest
    assert (avatar.idle.faces.boxes == np.float32(FACE_BOX)).all()
    for number in (0, 7, 11):
        assert np.abs(avatar.idle.pictures[number].astype(int) - picture - number).mean() < 3
    assert avatar.package.manifest["source"]["kind"] == "livetalking"
    avatar.close()
    assert not list(out.rglob("*.pkl"))


def test_the_faces_found_anew_leave_the_pickle_alone(foreign, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("anchor.avatars.livetalking.make_detector", lambda name: StandInDetector())
    (foreign / "coords.pkl").write_bytes(pickle.dumps(os.getcwd))
    out = tmp_path / "out"
    import_livetalking(path=foreign, checkpoint=checkpoint, out=out, boxes="detected", rest="drawn", device="cpu")
    avatar = Avatar.open(out)
    assert avatar.idle.facts.has_rest
    assert np.allclose(avatar.idle.faces.boxes, FACE_BOX, atol=1)
    avatar.close()


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_an_evil_folder_runs_nothing_and_leaves_nothing(foreign, checkpoint, tmp_path, capsys):
    write_boxes(foreign, Evil(tmp_path / "ran"))
    arguments = [f"path={foreign}", f"checkpoint={checkpoint}", f"out={tmp_path / 'out'}", "device=cpu"]
    assert main(["import", "livetalking", *arguments]) == 2
    said = capsys.readouterr().err
    assert "Nothing of it was run" in said
    assert "Traceback" not in said
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


def wrong_crops(folder):
    for path in (folder / "face_imgs").iterdir():
        cv2.imwrite(str(path), np.zeros((96, 96, 3), np.uint8))


def no_crops(folder):
    for path in (folder / "face_imgs").iterdir():
        path.unlink()
    (folder / "face_imgs").rmdir()


def link_out(folder):
    first = folder / "full_imgs" / "00000000.png"
    first.rename(folder.parent / "away.png")
    first.symlink_to(folder.parent / "away.png")


def huge_png(folder):
    path = folder / "full_imgs" / "00000000.png"
    data = bytearray(path.read_bytes())
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    path.write_bytes(data)


def other_size(folder):
    cv2.imwrite(str(folder / "full_imgs" / "00000005.png"), np.full((32, 32, 3), 9, np.uint8))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: write_boxes(folder, [(Y0, Y1, X0, X1)] * 11), "11 boxes for 12 pictures"),
        (lambda folder: write_boxes(folder, [(0.0, 0.0, 0.0, 0.0)] * 12), "do not cut out"),
        (wrong_crops, "do not cut out what face_imgs shows"),
        (no_crops, "has no face_imgs"),
        (link_out, "leads out of"),
        (huge_png, "100000x100000 px"),
        (other_size, "32x32, the first picture was 200x160"),
        (lambda folder: (folder / "full_imgs" / "00000003.png").write_bytes(b"GIF89a"), "is no PNG"),
        (lambda folder: (folder / "coords.pkl").unlink(), "is missing"),
        (lambda folder: (folder / "full_imgs" / "00000003.jpg").write_bytes(b""), "frame 3 stands there twice"),
        (lambda folder: (folder / "full_imgs").rename(folder / "other"), "holds no folder full_imgs"),
    ],
)
def test_what_cannot_be_taken_over_is_named(foreign, checkpoint, tmp_path, spoil, says):
    spoil(foreign)
    with pytest.raises(AnchorError, match=says):
        import_livetalking(path=foreign, checkpoint=checkpoint, out=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_pictures_without_a_face_keep_the_nearest_box(foreign, checkpoint, tmp_path):
    write_boxes(foreign, [(Y0, Y1, X0, X1)] * 11 + [(0.0, 0.0, 0.0, 0.0)])
    import_livetalking(path=foreign, checkpoint=checkpoint, out=tmp_path / "out", device="cpu")
    avatar = Avatar.open(tmp_path / "out")
    assert avatar.idle.faces.presence[-1] == 0
    assert (avatar.idle.faces.boxes[-1] == np.float32(FACE_BOX)).all()
    avatar.close()


def test_without_crops_the_masks_of_musetalk_tell(foreign, checkpoint, tmp_path):
    no_crops(foreign)
    (foreign / "mask").mkdir()
    write_boxes(foreign, [[X0, Y0, X1, Y1]] * 12)
    import_livetalking(path=foreign, checkpoint=checkpoint, out=tmp_path / "out", device="cpu")
    avatar = Avatar.open(tmp_path / "out")
    assert (avatar.idle.faces.boxes == np.float32(FACE_BOX)).all()
    avatar.close()

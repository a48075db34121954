"""What `anchor avatar build` leaves: pictures from anywhere, faces that fit them, facts that hold."""

import json

import cv2
import numpy as np
import pytest
import torch

from anchor.__main__ import main
from anchor.avatars import Avatar, build
from anchor.avatars.plan import choose_idle
from anchor.errors import AnchorError, ConfigError, FaceError, MediaError
from anchor.faces import crop_face
from anchor.inference.paste import paste_mouth
from anchor.models import LipGenerator, describe


@pytest.fixture
def avatar(built):
    opened = Avatar.open(built)
    yield opened
    opened.close()


def brightness(picture):
    return float(picture[:20].mean())  # above the face: the mouth has no say


def test_pictures_come_in_any_order_and_are_the_source(avatar, video):
    from anchor.inference.footage import read_pictures

    pictures = avatar.idle.pictures
    start = round(avatar.package.manifest["clips"]["idle"]["source_s"][0] * 25)
    source = list(read_pictures(video))
    shifts = []
    for number in (7, 3, len(pictures) - 1, 0, 4, 4):
        assert np.abs(pictures[number].astype(int) - source[start + number]).mean() < 2
        shifts.append(brightness(pictures[number]) - brightness(source[start + number]))
    assert np.ptp(shifts) < 0.3  # a picture adds 0.5; the coder takes one level from all
    forwards = [pictures[number] for number in range(len(pictures))]
    small = Avatar.open(avatar.path, cache_bytes=1)
    for number in reversed(range(len(pictures))):  # from a cache of one picture, so each is decoded again
        assert (small.idle.pictures[number] == forwards[number]).all()
    small.close()


def test_crops_references_and_boxes_fit_the_stored_pictures_to_the_bit(avatar):
    for clip in avatar.clips.values():
        assert len(clip.pictures) == clip.facts.num_frames == len(clip.faces.boxes)
        for number in range(0, clip.facts.num_frames, 7):
            crop = crop_face(clip.pictures[number], clip.faces.boxes[number], avatar.crop_size)
            assert (clip.faces.crop(number) == crop).all()
            assert (clip.faces.reference(number) == clip.faces.crop(int(clip.faces.references[number, 0]))).all()


def test_an_avatar_holds_three_references_for_every_picture(video, tmp_path):
    options = {"image_size": 32, "widths": (4, 6, 8), "strides": (2, 2, 2), "speech_width": 2, "embedding_size": 8}
    net = LipGenerator(**options, num_references=3)
    weights = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": {"net": describe(net)}}, tmp_path / "net.ckpt")
    build(video=video, checkpoint=tmp_path / "net.ckpt", out=tmp_path / "me", device="cpu")
    avatar = Avatar.open(tmp_path / "me")
    faces = avatar.idle.faces
    assert faces.references.shape == (avatar.idle.facts.num_frames, 3)
    laid = np.concatenate([faces.crop(int(number)) for number in faces.references[4]], 2)
    assert (faces.reference(4) == laid).all()
    avatar.close()


def test_a_pasted_mouth_stays_in_its_region(avatar):
    faces, picture = avatar.idle.faces, avatar.idle.pictures[5]
    drawn = 255 - faces.crop(5)
    changed = (paste_mouth(picture, faces.boxes[5], drawn, faces.crop(5)) != picture).any(-1)
    left, top, right, bottom = faces.regions[5]
    assert changed.any()
    changed[top:bottom, left:right] = False
    assert not changed.any()
    assert (faces.regions % 2 == 0).all()


def test_the_mouth_at_rest_differs_in_the_region_alone(avatar):
    clip = avatar.idle
    assert clip.facts.has_rest  # nobody is silent for 3 s here
    left, top, right, bottom = clip.faces.regions[5]
    difference = np.abs(clip.rest_pictures[5].astype(int) - clip.pictures[5]).max(-1)
    assert difference[top:bottom, left:right].max() > 8
    difference[top - 8 : bottom + 8, left - 8 : right + 8] = 0  # the coder's blocks reach a little further
    assert difference.max() <= 10


def test_an_action_joins_the_idle_clip_where_they_look_alike(avatar):
    wave = avatar.actions["wave"]
    assert (wave.facts.first, wave.facts.stop - wave.facts.first) == (5, 15)
    assert wave.facts.num_frames == 25  # with five frames on either side to fade in
    idle = avatar.idle.pictures
    first, last = wave.pictures[wave.facts.first], wave.pictures[wave.facts.stop - 1]
    assert abs(brightness(idle[wave.facts.enter]) - brightness(first)) < 1.2
    assert abs(brightness(idle[wave.facts.leave]) - brightness(last)) < 1.2
    assert wave.order(30)[-1] == wave.facts.stop - 1


def test_the_idle_clip_turns_without_a_jump(avatar):
    clip = avatar.idle
    order = clip.order(400)
    assert (np.abs(np.diff(order)) == 1).all()
    assert (clip.order(100, 300) == order[300:]).all()  # any tick may be asked for alone
    assert {order.min(), order.max()} == {clip.facts.first, clip.facts.stop - 1}


def test_a_package_can_be_read_without_pickle_and_says_what_it_is(built, capsys):
    told = json.loads((built / "avatar.json").read_text())
    assert {path.suffix for path in built.rglob("*") if path.is_file()} == {".json", ".mp4", ".safetensors"}
    assert "synthetic media" in told["synthetic_media"]
    assert len(told["source"]["sha256"]) == 64
    assert main(["avatar", "show", str(built)]) == 0
    shown = capsys.readouterr().out
    assert "Me, 200x160 px" in shown
    assert "action    wave" in shown
    assert main(["avatar", "check", str(built)]) == 0
    assert "pictures decoded, the network loads" in capsys.readouterr().out


def test_an_exported_network_of_a_smaller_picture(tmp_path, video, checkpoint):
    from anchor.export import export

    export(checkpoint=checkpoint, out=tmp_path / "export", onnx=False)
    build(video=video, checkpoint=tmp_path / "export", out=tmp_path / "a", height=129, rest="original", device="cpu")
    avatar = Avatar.open(tmp_path / "a")
    assert avatar.size == (162, 128)
    assert not avatar.idle.facts.has_rest
    assert avatar.name == "me"
    avatar.close()
    (tmp_path / "a" / "mine.txt").write_text("kept?")
    build(video=video, checkpoint=checkpoint, out=tmp_path / "a", rest="original", device="cpu")  # replaced as a whole
    assert Avatar.open(tmp_path / "a").size == (200, 160)
    assert not (tmp_path / "a" / "mine.txt").exists()


def test_a_still_picture_breathes_and_blinks_and_its_end_is_its_beginning(tmp_path, picture, checkpoint):
    picture = picture.copy()
    for eye in ((82, 68), (120, 68)):
        cv2.circle(picture, eye, 3, (0, 0, 0), -1)
    cv2.imwrite(str(tmp_path / "me.png"), picture[..., ::-1])
    build(video=tmp_path / "me.png", checkpoint=checkpoint, out=tmp_path / "a", device="cpu")
    avatar = Avatar.open(tmp_path / "a")
    clip = avatar.idle
    assert clip.facts.loop == "around"
    assert not clip.facts.has_rest
    steps = [np.abs(clip.pictures[n % 300].astype(int) - clip.pictures[(n + 1) % 300]).mean() for n in range(295, 305)]
    assert max(steps[3:6]) < 3 * np.median(steps) + 0.5  # the seam is a step like others
    open_eye, closed = (clip.pictures[n][64:72, 77:87].mean() for n in (40, 49))
    assert closed > open_eye + 15  # most of the pupil is gone
    avatar.close()


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"video": "missing.mp4"}, MediaError, r"missing\.mp4 does not exist"),
        ({"idle": "1-"}, ConfigError, "idle=1- is no pair of seconds"),
        ({"idle": "1.0-1.2"}, ConfigError, "a clip has 0.4 to 300 s"),
        ({"actions": {"wave": "1.0-4.0"}}, ConfigError, "passes the end of the video at 2.40 s"),
        ({"actions": {"../up": "0-1"}}, ConfigError, "is no name of a clip"),
        ({"actions": {"idle": "0-1"}}, ConfigError, "Write idle=0-1"),
        ({"seconds": 0.1}, ConfigError, "seconds=0.1 is out of range"),
        ({"height": 12}, ConfigError, "height=12 is out of range"),
        ({"name": "a\nb"}, ConfigError, "printable"),
        ({"out": "."}, AnchorError, "holds other things"),
    ],
)
def test_what_cannot_be_built_is_a_sentence_and_leaves_nothing(
    tmp_path, monkeypatch, video, checkpoint, change, kind, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").touch()
    with pytest.raises(kind, match=words) as caught:
        build(**{"video": video, "checkpoint": checkpoint, "out": tmp_path / "a", "device": "cpu", **change})
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_build_that_fails_late_keeps_the_avatar_that_stands_there(tmp_path, video, checkpoint, monkeypatch):
    arguments = {"video": video, "checkpoint": checkpoint, "out": tmp_path / "a", "rest": "original", "device": "cpu"}
    build(**arguments)
    before = Avatar.open(tmp_path / "a").id

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("anchor.avatars.clips.write_faces", full)
    with pytest.raises(ConfigError, match=r"cannot be written .*No space left"):
        build(**arguments)
    assert Avatar.open(tmp_path / "a").id == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_idling_prefers_silence_and_needs_a_second_of_one_face():
    ids = np.zeros(300, np.int32)
    levels = np.full(300, -20.0)
    levels[100:200] = -80
    motion = np.ones(300, np.float32)
    quiet = choose_idle(ids, levels, motion, 500)
    assert quiet.is_silent
    assert 100 < quiet.start < quiet.stop < 200
    levels[150] = -20  # what is left is too short
    loud = choose_idle(ids, levels, motion, 250)
    assert not loud.is_silent
    assert loud.stop - loud.start <= 250
    assert choose_idle(ids, None, motion, 500).is_silent
    with pytest.raises(FaceError, match="at most 20 frames in a row"):
        choose_idle(np.where(np.arange(300) % 21 == 0, -1, 0), None, motion, 500)


def test_a_family_of_keys_on_the_command_line(capsys):
    assert main(["avatar", "build", "--help"]) == 0
    assert "actions.NAME=" in capsys.readouterr().out
    assert main(["avatar", "build", "video=a", "checkpoint=b", "out=c", "actions=wave"]) == 2
    assert "write actions.NAME=VALUE" in capsys.readouterr().err
    assert main(["avatar", "build", "video=a", "checkpoint=b", "out=c", "actions.a=1-2", "actions.a=1-2"]) == 2
    assert "given twice" in capsys.readouterr().err

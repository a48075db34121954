"""Avatars that `anchor avatar build` made, as the server and the drawing process hold them."""

import numpy as np
import pytest
from small_avatars import built, checkpoint, picture, stand_in_detector, video  # noqa: F401

from anchor.errors import AvatarError, ConfigError
from anchor.inference import draw_frames
from anchor.serving.avatar import Step
from anchor.serving.drawing import draw_mouths
from anchor.serving.opened import load_face, open_avatar
from anchor.serving.painter import Painter
from anchor.serving.serve import serve
from anchor.serving.timeline import Tick


def test_a_built_avatar_idles_acts_and_speaks(built):  # noqa: F811
    avatar = open_avatar(built)
    stage = avatar.stage
    assert (avatar.name, [action.name for action in avatar.actions]) == ("Me", ["wave"])
    walk = avatar.walk()
    numbers = [walk.next().number for _ in range(2 * len(stage))]
    assert max(numbers) < len(stage)
    assert walk.act("wave")
    assert walk.next().number not in numbers, "the action has pictures of its own"
    face = load_face(str(built))
    assert len(face.crops_NSSC) == len(stage)
    mel_MS = np.random.default_rng(0).uniform(-4, 4, (80, 16)).astype(np.float32)
    last = len(stage) - 1
    mouths_NhSC = draw_mouths(face, [0, last], np.stack([mel_MS, mel_MS]))
    for mouth_hSC, number in zip(mouths_NhSC, (0, last), strict=True):
        assert np.array_equal(face.crops_NSSC[number], stage.crop(number))
        # The same picture as `anchor infer` draws: frame 2 of a mel that begins with this window.
        crop, reference = face.crops_NSSC[number], face.crops_NSSC[face.references_NR[number, 0]]
        drawn = draw_frames(face.network, crop[None], reference[None], mel_MS.T, [2])[0]
        difference = np.abs(drawn[len(drawn) // 2 :].astype(int) - mouth_hSC).max()
        assert difference <= 1
        tick = Tick(0, 0, np.zeros((640, 4), np.float32), mel_MS, 1.0, True)
        shown = Painter(stage).picture(tick, Step(number, False), (number, mouth_hSC))
        left, top, right, bottom = stage.regions_N4[number]
        outside = np.ones(shown.shape[:2], bool)
        outside[top:bottom, left:right] = False
        assert np.array_equal(shown[outside], stage.picture(number)[: stage.height, : stage.width][outside])
        assert not np.array_equal(shown, stage.picture(number)[: stage.height, : stage.width])


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"host": "0.0.0.0"}, "there are no tokens"),
        ({"avatars": "nowhere"}, "is no folder"),
        ({"threads": 0}, "threads=0 is out of range"),
        ({"port": 70_000}, "cannot be listened on"),
        ({"certificate": "x.pem"}, "https needs both"),
        ({"tokens": "nowhere.json"}, "cannot be read"),
    ],
)
def test_serve_refuses_with_a_sentence(tmp_path, keys, says):
    with pytest.raises(ConfigError, match=says):
        serve(**{"avatars": tmp_path, "device": "cpu", **keys})


def test_a_folder_that_is_no_avatar_says_so(tmp_path):
    with pytest.raises(AvatarError, match=r"holds no avatar\.json"):
        open_avatar(tmp_path)

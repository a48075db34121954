import cv2
import numpy as np
import pytest

from anchor.faces import crop_face, paste_face
from anchor.inference.blend import MAX_SHIFT, colour_shift, drawn_change
from anchor.inference.mask import mouth_mask
from anchor.inference.paste import paste_mouth

BOX = np.array([60.3, 30.7, 142.2, 130.9], np.float32)


@pytest.fixture
def grainy(picture):
    """The smooth picture with the grain of a camera, four times as large: a face in it is larger than its crop."""
    large = cv2.resize(picture, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC).astype(float)
    return np.clip(large + np.random.default_rng(0).normal(0, 4, large.shape), 0, 255).astype(np.uint8)


def _seam(pasted, frame, box, size):
    """The steepest step that the paste adds inside the mask's fade, in levels a pixel."""
    alpha = paste_face(np.zeros_like(frame), box, np.full((size, size, 3), 255, np.uint8), mouth_mask(size))[..., 0]
    ring = (alpha > 2) & (alpha < 250)
    added = pasted.astype(float) - frame
    steps = np.maximum(*(np.abs(np.gradient(added, axis=axis)).max(-1) for axis in (0, 1)))
    return float(steps[ring].max())


def _redrawn(crop, change):
    drawn = crop.copy()
    half = len(crop) // 2
    drawn[half:] = np.clip(drawn[half:].astype(float) + change, 0, 255)
    return drawn


def test_the_mask_covers_the_mouth_and_ends_softly():
    mask = mouth_mask(96)
    assert mask.min() == 0
    assert mask[round(0.69 * 96) : round(0.82 * 96), 32:64].min() > 0.9  # lips
    assert mask[round(0.86 * 96), 40:56].min() > 0.4  # the lower lip of a wide open mouth
    assert mask[: round(0.55 * 96)].max() < 0.01  # the nose stays the original
    assert mask[round(0.97 * 96) :].max() == 0  # and so does the chin's contour
    assert mask[:, :2].max() == 0
    assert max(np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1)) < 0.3  # the steepest place, at 96 px


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("size", [96, 168])
def test_an_unchanged_mouth_leaves_the_frame_as_it_was(picture, grainy, scale, size):
    frame, box = (picture, BOX) if scale == 1 else (grainy, BOX * 4)
    crop = crop_face(frame, box, size)
    pasted = paste_mouth(frame, box, crop, crop)
    assert np.abs(pasted.astype(int) - frame).max() <= 2  # 0 in fact, at any size: the grain is not redrawn


@pytest.mark.parametrize("level", [-20, -6, 6, 20])
def test_no_seam_where_the_generator_is_off_in_colour(grainy, level):
    box = BOX * 4
    crop = crop_face(grainy, box, 96)
    pasted = paste_mouth(grainy, box, _redrawn(crop, np.array([level, level / 2, 0])), crop)
    assert _seam(pasted, grainy, box, 96) <= 2
    assert np.abs(pasted.astype(int) - grainy).mean() < 1  # the shift is taken back, not only faded


def test_no_seam_where_light_and_shadow_are_off_differently(grainy):
    box = BOX * 4
    crop = crop_face(grainy, box, 96)
    tilt = np.linspace(-14, 14, 96)[None, :, None]
    pasted = paste_mouth(grainy, box, _redrawn(crop, tilt), crop)
    assert _seam(pasted, grainy, box, 96) <= 2
    assert np.abs(pasted.astype(int) - grainy).max() <= 8


def test_a_wrong_colour_is_not_painted_over():
    crop = np.full((96, 96, 3), 100, np.uint8)
    assert np.abs(colour_shift(_redrawn(crop, 100), crop)).max() <= MAX_SHIFT + 0.01
    pasted = paste_mouth(crop, np.array([0, 0, 96, 96], np.float32), _redrawn(crop, 100), crop)
    assert 170 <= pasted[72, 48, 0] <= 185
    assert _seam(pasted, crop, np.array([0, 0, 96, 96]), 96) <= 14  # 76 levels over a fade of a dozen pixels


def test_a_new_mouth_is_drawn_and_keeps_nothing_of_the_old_one(grainy):
    box = BOX * 4
    crop = crop_face(grainy, box, 96)
    drawn = crop.copy()
    drawn[68:78, 34:62] = (150, 30, 40)
    pasted = paste_mouth(grainy, box, drawn, crop)
    x0, y0, x1, y1 = box
    mouth = pasted[
        round(y0 + 0.74 * (y1 - y0)) : round(y0 + 0.78 * (y1 - y0)),
        round(x0 + 0.45 * (x1 - x0)) : round(x0 + 0.55 * (x1 - x0)),
    ]
    assert np.abs(mouth.astype(int) - (150, 30, 40)).max() <= 12
    assert mouth.std(axis=(0, 1)).max() < 2  # none of the frame's grain, whose deviation is 4


def test_skin_that_is_drawn_too_smooth_keeps_the_cameras_grain(grainy):
    box = BOX * 4
    crop = crop_face(grainy, box, 96)
    smooth = crop.copy()
    smooth[48:] = cv2.GaussianBlur(crop, (0, 0), 1.5)[48:]
    pasted = paste_mouth(grainy, box, smooth, crop)
    assert (pasted.astype(float) - grainy).std() < 0.6  # laid in whole it would be 4 and more in the mask


def test_presence_blends(picture):
    crop = crop_face(picture, BOX, 96)
    drawn = _redrawn(crop, 0)
    drawn[66:80, 30:66] = (200, 40, 60)
    full, half, none = (paste_mouth(picture, BOX, drawn, crop, presence).astype(float) for presence in (1, 0.5, 0))
    assert (none == picture).all()
    assert np.abs(half - (full + picture) / 2).max() <= 1
    assert np.abs(full - picture).max() > 50


def test_pixels_outside_the_mask_keep_their_bytes(picture):
    crop = crop_face(picture, BOX, 96)
    before = picture.copy()
    drawn = crop.copy()
    drawn[48:] = 255 - drawn[48:]
    pasted = paste_mouth(picture, BOX, drawn, crop)
    changed = (pasted != picture).any(-1)
    assert changed.sum() > 500
    covered = paste_face(np.zeros_like(picture), BOX, np.full_like(crop, 255), (mouth_mask(96) > 0).astype(np.float32))
    assert not changed[covered.max(-1) == 0].any()
    assert (picture == before).all()


@pytest.mark.parametrize(
    "box", [(-40, -30, 42, 70), (150, 100, 260, 230), (300, 300, 400, 420), (10.2, 5.1, 40.9, 40.3)]
)
def test_faces_at_the_edge_beyond_it_and_small_ones(picture, box):
    box = np.array(box, np.float32)
    crop = crop_face(picture, box, 96)
    assert (paste_mouth(picture, box, crop, crop) == picture).all()
    assert paste_mouth(picture, box, _redrawn(crop, 60), crop).shape == picture.shape


def test_the_upper_half_is_never_changed():
    rng = np.random.default_rng(3)
    crop, drawn = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    change, _ = drawn_change(drawn, crop)
    assert np.abs(change[:28]).max() < 1e-3

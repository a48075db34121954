import cv2
import numpy as np
import pytest

from anchor.errors import FaceError
from anchor.faces import crop_face, paste_face


def natural_picture(height=240, width=320):
    """Smooth random texture, about as sharp as a photograph of a face."""
    noise = np.random.default_rng(0).normal(128, 90, (height, width, 3)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 2.0) * 2.5 - 190, 0, 255).astype(np.uint8)


def psnr(one, other):
    return 10 * np.log10(255**2 / max(1e-9, ((one.astype(float) - other) ** 2).mean()))


def soft_mask(size):
    """1 in the middle, fading to 0 at every edge."""
    place = (np.arange(size, dtype=np.float32) + 0.5) / size
    fade = np.clip(np.minimum(place, 1 - place) / 0.08, 0, 1)
    return np.outer(fade, fade)


def test_a_box_on_whole_pixels_is_a_plain_copy():
    frame = natural_picture()
    crop = crop_face(frame, (40, 30, 136, 126), 96)
    np.testing.assert_array_equal(crop, frame[30:126, 40:136])
    np.testing.assert_array_equal(paste_face(frame * 0, (40, 30, 136, 126), crop)[30:126, 40:136], crop)


@pytest.mark.parametrize("shift", [0.25, 0.5, 0.8])
def test_a_box_between_pixels_is_exact(shift):
    across = np.arange(200, dtype=np.float32)
    frame = np.repeat(np.round(across)[None, :, None], 120, 0).repeat(3, 2).astype(np.uint8)  # value = place
    crop = crop_face(frame, (20 + shift, 20, 116 + shift, 116), 96).astype(float)
    expected = 20 + shift + np.arange(96)
    assert abs((crop[:, :, 0] - expected).mean()) < 0.05 + abs(round(shift) - shift) * 0.02 + 0.5
    wide = crop_face(frame, (20 + shift, 20, 164 + shift, 116), 48).astype(float)  # shrinks by 3
    expected = 20 + shift + 3 * np.arange(48) + 1
    assert np.abs(wide[0, :, 0] - expected).max() <= 1


def test_shrinking_is_anti_aliased():
    frame = np.zeros((256, 256, 3), np.uint8)
    frame[:, ::2] = 255
    crop = crop_face(frame, (0.3, 0, 255.3, 255), 50)
    assert (
        np.abs(crop[2:-2, 2:-2].astype(int) - 128).max() < 40
    )  # a plain bilinear crop would show stripes of 0 and 255


def test_beyond_the_picture_the_border_repeats():
    frame = natural_picture()
    crop = crop_face(frame, (-40, -30, 56, 66), 96)
    np.testing.assert_array_equal(crop[:30, :40], np.broadcast_to(frame[0, 0], (30, 40, 3)))


@pytest.mark.parametrize("size", [192, 256])
@pytest.mark.parametrize("box", [(71.3, 40.7, 201.9, 199.6), (-20.5, 100.2, 88.1, 251.9), (230.4, -33.3, 340.2, 101.1)])
def test_an_unchanged_crop_comes_back_invisibly(box, size):
    frame = natural_picture()
    result = paste_face(frame, box, crop_face(frame, box, size), soft_mask(size))
    assert psnr(result, frame) > 40
    outside = np.ones(frame.shape[:2], bool)
    outside[
        max(0, int(np.floor(box[1]))) : int(np.ceil(box[3])), max(0, int(np.floor(box[0]))) : int(np.ceil(box[2]))
    ] = False
    np.testing.assert_array_equal(result[outside], frame[outside])


def test_a_large_face_keeps_what_its_crop_can_hold():
    frame = cv2.resize(natural_picture(), (1280, 960), interpolation=cv2.INTER_CUBIC)
    box = (211.3, 140.7, 711.9, 751.6)
    assert psnr(paste_face(frame, box, crop_face(frame, box, 192)), frame) > 35


def test_the_mask_is_followed():
    frame, crop = np.zeros((100, 100, 3), np.uint8), np.full((64, 64, 3), 200, np.uint8)
    mask = soft_mask(64)
    result = paste_face(frame, (20, 20, 84, 84), crop, mask)
    np.testing.assert_allclose(result[20:84, 20:84, 0], 200 * mask, atol=1)


@pytest.mark.parametrize("box", [(np.nan,) * 4, (10, 10, 10, 20), (0, 0, -5, 5)])
def test_a_box_without_area_is_refused(box):
    with pytest.raises(FaceError, match="no area"):
        crop_face(natural_picture(), box, 96)

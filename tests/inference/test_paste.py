import numpy as np

from anchor.faces import crop_face, paste_face
from anchor.inference.paste import match_colours, mouth_mask, paste_mouth

BOX = np.array([60.3, 30.7, 142.2, 130.9], np.float32)


def _psnr(left, right):
    return 10 * np.log10(255**2 / max(1e-9, np.mean((left.astype(float) - right) ** 2)))


def test_the_mask_covers_the_mouth_and_ends_softly():
    mask = mouth_mask(96)
    assert mask.min() == 0
    assert mask[round(0.68 * 96) : round(0.9 * 96), 28:68].min() > 0.97  # lips, wide open too
    assert mask[: round(0.55 * 96)].max() < 0.01  # the nose stays the original
    assert mask[-1].max() < 0.02
    assert mask[:, 0].max() < 0.02
    assert max(np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1)) < 0.3  # the steepest place, at 96 px


def test_an_unchanged_mouth_leaves_the_frame_as_it_was(picture):
    crop = crop_face(picture, BOX, 96)
    pasted = paste_mouth(picture, BOX, crop, crop)
    assert _psnr(pasted, picture) > 45


def test_pixels_outside_the_mask_keep_their_bytes(picture):
    crop = crop_face(picture, BOX, 96)
    drawn = crop.copy()
    drawn[48:] = 255 - drawn[48:]
    pasted = paste_mouth(picture, BOX, drawn, crop)
    changed = (pasted != picture).any(-1)
    assert changed.sum() > 1000
    covered = paste_face(np.zeros_like(picture), BOX, np.full_like(crop, 255), (mouth_mask(96) > 0).astype(np.float32))
    assert not changed[covered.max(-1) == 0].any()


def test_colours_meet_at_the_seam(picture):
    crop = crop_face(picture, BOX, 96)
    drawn = crop.copy()
    drawn[48:] = np.clip(drawn[48:].astype(int) - 9, 0, 255)
    assert np.abs(match_colours(drawn, crop)[48:].astype(int) - crop[48:]).mean() < 1.5
    assert (match_colours(drawn, crop)[:48] == crop[:48]).all()


def test_a_wrong_colour_is_not_painted_over():
    crop = np.full((96, 96, 3), 100, np.uint8)
    drawn = crop.copy()
    drawn[48:] = 200
    assert 180 <= match_colours(drawn, crop)[60, 48, 0] <= 190

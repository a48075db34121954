"""Pictures as cameras, phones and painters save them."""

import cv2
import numpy as np
import pytest
from PIL import Image

from anchor.errors import MediaError
from anchor.inference.still import MAX_SIDE, is_still, read_still


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff"])
def test_every_kind_is_read_whatever_it_is_called(tmp_path, picture, suffix):
    path = tmp_path / f"fäce.{suffix}.mp4"
    path.write_bytes(cv2.imencode(f".{suffix}", picture[..., ::-1])[1].tobytes())
    assert is_still(path)
    assert np.abs(read_still(path).astype(int) - picture).mean() < 4


def test_a_video_that_is_called_a_picture_is_a_video(tmp_path, face_video):
    path = face_video(3).rename(tmp_path / "face.jpg")
    assert not is_still(path)
    assert not is_still(tmp_path / "missing.jpg")


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_the_camera_may_be_held_in_any_way(tmp_path, picture, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(tmp_path / "face.jpg", quality=95, exif=exif)
    read = read_still(tmp_path / "face.jpg")
    assert read.shape == np.rot90(picture, turns).shape
    assert np.abs(read.astype(int) - np.rot90(picture, turns)).mean() < 4


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_what_is_transparent_lies_on_white(tmp_path, picture, kind):
    alpha = np.full(picture.shape[:2], 255, np.uint8)
    alpha[:, :50], alpha[:, 50:60] = 0, 128
    Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / f"face.{kind}", lossless=True)
    read = read_still(tmp_path / f"face.{kind}").astype(int)
    assert (read[:, :50] == 255).all()
    assert np.abs(read[:, 50:60] - (picture[:, 50:60].astype(int) + 255) / 2).max() <= 2
    assert (read[:, 60:] == picture[:, 60:]).all()


def test_palettes_grey_and_16_bits_become_rgb(tmp_path, picture):
    grey = picture[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    cv2.imwrite(str(tmp_path / "deep.png"), picture[..., ::-1].astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "deep_grey.png"), grey.astype(np.uint16) * 257)
    Image.fromarray(picture).quantize(64).save(tmp_path / "palette.png", transparency=3)
    assert (read_still(tmp_path / "grey.png") == grey[..., None]).all()
    assert np.abs(read_still(tmp_path / "deep.png").astype(int) - picture).max() <= 1
    assert np.abs(read_still(tmp_path / "deep_grey.png").astype(int) - grey[..., None]).max() <= 1
    assert read_still(tmp_path / "palette.png").shape == picture.shape


def test_a_huge_picture_is_reduced(tmp_path):
    cv2.imwrite(str(tmp_path / "huge.jpg"), np.full((1000, 8000, 3), 90, np.uint8))
    read = read_still(tmp_path / "huge.jpg")
    assert read.shape == (480, MAX_SIDE, 3)
    assert np.abs(read.astype(int) - 90).max() <= 2


def test_a_broken_picture_is_a_sentence(tmp_path):
    path = tmp_path / "face.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"nothing")
    with pytest.raises(MediaError, match=r"face\.png is no picture that can be read"):
        read_still(path)

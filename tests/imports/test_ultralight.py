"""A person's folder of Ultralight becomes a set: its rate, its points, its gaps; nothing outside of it is read."""

import numpy as np
import pytest
from foreign_folders import write_wav

from anchor.errors import ConfigError, MediaError
from anchor.imports.ultralight import import_ultralight, outline_box, picture_rate, read_points, shown_at
from anchor.inference.footage import read_pictures
from anchor.ops.jpeg import encode_rgb
from anchor.shards import ShardSet

SIDE = 120


def make_person(folder, count, seconds, centre=(60, 60), missing=()):
    for part in ("full_body_img", "landmarks"):
        (folder / part).mkdir(parents=True)
    angle = np.linspace(0, 2 * np.pi, 110, endpoint=False)
    outline = np.stack([centre[0] + 20 * np.cos(angle), centre[1] + 25 * np.sin(angle)], 1)
    for number in range(count):
        picture = np.full((SIDE, SIDE, 3), (0, 0, number), np.uint8)
        picture[centre[1] - 25 : centre[1] + 25, centre[0] - 20 : centre[0] + 20, 0] = 200
        picture[centre[1] + 15 : centre[1] + 25, :, 1] = 200
        (folder / "full_body_img" / f"{number}.jpg").write_bytes(encode_rgb(picture))
        lines = [] if number in missing else [f"{x:.0f} {y:.0f}" for x, y in outline]
        (folder / "landmarks" / f"{number}.lms").write_text("\n".join(["# backend=pfld110", *lines]))
    write_wav(folder / "aud.wav", seconds)


def test_points_cut_the_face_and_a_picture_without_them_is_left_out(tmp_path, capsys):
    person = tmp_path / "anna"
    make_person(person, 100, 4.0, missing=range(50, 54))
    import_ultralight(source=person, out=tmp_path / "set", image_size=64, boxes="landmarks")
    said = capsys.readouterr()
    assert "1 clips kept, 0 refused, 2 segments" in said.out
    assert "4 of 100 frames are missing" in said.err
    shards = ShardSet(str(tmp_path / "set"))
    assert sorted(clip.num_frames for clip in shards.clips) == [45, 50]
    first = next(clip for clip in shards.clips if clip.num_frames == 50)
    crop = shards.read_frames(first, [10])[0]
    assert crop[:, 4:-4, 0].min() > 150  # the face fills the crop
    assert (crop[:, 32, 1] > 100).nonzero()[0].tolist() == pytest.approx(range(51, 64), abs=1)  # down to the chin


def test_pictures_at_20_fps_are_shown_at_25(tmp_path, capsys):
    make_person(tmp_path / "people" / "bert", 40, 2.0)
    import_ultralight(source=tmp_path / "people", out=tmp_path / "set", image_size=64, boxes="landmarks")
    said = capsys.readouterr()
    assert "its pictures have 20 fps" in said.err
    assert "50 frames, 2.0 s" in said.out
    assert shown_at(4, 20).tolist() == [0, 1, 2, 2, 3]
    assert shown_at(3, 25).tolist() == [0, 1, 2]


def test_the_rate_is_that_of_the_sound():
    assert picture_rate("a", 1500, 60.1) == 25
    assert picture_rate("a", 1200, 60.1) == 20
    assert picture_rate("a", 900, 60.1, "20") == 20
    with pytest.raises(MediaError, match=r"a: 900 pictures and 60\.10 s of sound fit neither 25 nor 20 fps"):
        picture_rate("a", 900, 60.1)


def test_a_box_is_as_wide_as_the_face_and_ends_at_the_chin():
    points = np.array([[10, 30], [92, 40], [50, 110], [50, 20]], np.float32)
    assert outline_box(points).tolist() == pytest.approx([10, 10, 92, 110], abs=1e-4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 2\n" * 5, "5 lines, and 68 or more points"),
        ("1 2 3\n" * 110, "x and y in a line"),
        ("a b\n" * 110, "x and y in a line"),
        ("1 2\n1\n" * 60, "x and y in a line"),
        ("1 2\n" * 20000, "too large for points of one face"),
    ],
)
def test_what_is_no_list_of_points_is_one_sentence(text, says, tmp_path):
    (tmp_path / "0.lms").write_text(text)
    with pytest.raises(MediaError, match=says):
        read_points(tmp_path / "0.lms", tmp_path)


def test_a_person_that_cannot_be_used_is_named_and_links_are_not_followed(tmp_path, capsys):
    people = tmp_path / "people"
    make_person(people / "anna", 50, 2.0)
    make_person(people / "link", 50, 2.0)
    (tmp_path / "secret.lms").write_text("1 2\n" * 110)
    (people / "link" / "landmarks" / "3.lms").unlink()
    (people / "link" / "landmarks" / "3.lms").symlink_to(tmp_path / "secret.lms")
    make_person(people / "mute", 50, 2.0)
    (people / "mute" / "aud.wav").unlink()
    import_ultralight(source=people, out=tmp_path / "set", image_size=64, boxes="landmarks")
    said = capsys.readouterr()
    assert "1 clips kept, 2 refused" in said.out
    assert "3.lms leads out of" in said.err
    assert "aud.wav is missing" in said.err
    with pytest.raises(ConfigError, match="holds no full_body_img/"):
        import_ultralight(source=people / "anna" / "landmarks", out=tmp_path / "other")


def test_a_real_face_is_found_anew(tmp_path, data_dir, capsys):
    folder = tmp_path / "p08" / "full_body_img"
    folder.mkdir(parents=True)
    for number, picture in enumerate(read_pictures(data_dir / "data" / "clips" / "p08_man_256px_25fps_60s.mp4")):
        if number == 30:
            break
        (folder / f"{number}.jpg").write_bytes(encode_rgb(picture))
    write_wav(tmp_path / "p08" / "aud.wav", 1.2)
    import_ultralight(source=tmp_path / "p08", out=tmp_path / "set", image_size=64, detector="haar")
    assert "30 frames, 1.2 s" in capsys.readouterr().out

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from anchor.media import FrameReader, read_audio, write_video
from anchor.preprocess import preprocess
from anchor.preprocess.cleaning.duplicates import find_same_files, find_same_recordings
from anchor.preprocess.cleaning.fingerprint import Fingerprint, PictureCodes, code_sound
from anchor.preprocess.sound import mel_in_pieces
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip


@pytest.fixture(scope="module")
def originals():
    """Two takes of one drawn person, in the same room, and one of another: pictures and sound."""
    clips = [make_clip(draw_person(4, person), take, seconds=6, size=192) for person, take in ((0, 0), (0, 1), (1, 0))]
    return [(list(clip.frames()), clip.samples) for clip in clips]


def again(path, original, start=0, stop=150, side=None, crf=18, gain=1.0):
    """The frames from ``start`` to ``stop`` of ``original`` as another file."""
    import cv2

    frames = original[0][start:stop]
    pictures = frames if side is None else [cv2.resize(frame, (side, side)) for frame in frames]
    write_video(path, iter(pictures), audio=gain * original[1][640 * start : 640 * stop], crf=crf)
    return path


def fingerprint(path):
    samples, pictures = read_audio(path), PictureCodes()
    for index, frame in FrameReader(path, threads=1, backend="pyav"):
        pictures.add(index, frame)
    return Fingerprint(code_sound(mel_in_pieces(samples), len(samples) // 640), pictures.codes(), pictures.first)


def losers(*paths):
    found = find_same_recordings({number: fingerprint(path) for number, path in enumerate(paths)})
    return {number: twin.original for number, twin in found.items()}


def test_another_encoding_size_and_level_is_the_same_recording(tmp_path, originals):
    first = again(tmp_path / "a.mp4", originals[0])
    other = again(tmp_path / "b.mp4", originals[0], side=96, crf=34, gain=0.4)
    assert losers(first, other) == {1: 0}


def test_other_words_or_people_are_other_recordings(tmp_path, originals):
    paths = [again(tmp_path / f"{n}.mp4", original) for n, original in enumerate(originals)]
    assert losers(*paths) == {}
    dubbed = tmp_path / "dubbed.mp4"
    write_video(dubbed, iter(originals[2][0]), audio=originals[0][1])  # the same words from another mouth
    assert losers(paths[0], dubbed) == {}


def test_a_part_goes_and_the_whole_stays_whatever_their_order(tmp_path, originals):
    whole = again(tmp_path / "b.mp4", originals[0])
    part = again(tmp_path / "a.mp4", originals[0], 43, 130, side=128, crf=28)
    assert losers(part, whole) == {0: 1}
    assert losers(whole, part) == {1: 0}
    third = again(tmp_path / "c.mp4", originals[0], 50, 120)
    assert losers(part, whole, third) == {0: 1, 2: 1}


def test_nothing_heard_is_nothing_compared(tmp_path, originals):
    silent = [again(tmp_path / f"{n}.mp4", originals[0], gain=0.0) for n in range(2)]
    assert losers(*silent) == {}
    assert find_same_recordings({}) == {}


def test_a_fingerprint_survives_json(tmp_path, originals):
    one = fingerprint(again(tmp_path / "a.mp4", originals[0], 0, 40))
    back = Fingerprint.from_text(one.to_text())
    np.testing.assert_array_equal(back.sound_T, one.sound_T)
    np.testing.assert_array_equal(back.pictures_P, one.pictures_P)
    assert len(one.pictures_P) == 8


def test_only_files_of_one_size_are_compared_byte_by_byte(tmp_path):
    for name, text in (("a", "one"), ("b", "two"), ("c", "three"), ("d", "one"), ("e", ""), ("f", "")):
        (tmp_path / name).write_text(text)
    assert find_same_files(sorted(tmp_path.iterdir())) == {3: 0}


def test_the_second_of_two_is_left_out_and_says_of_which(tmp_path, originals, no_models):
    source = tmp_path / "source"
    for speaker in ("ann", "bob"):
        (source / speaker).mkdir(parents=True)
    again(source / "ann" / "one.mp4", originals[0])
    again(source / "bob" / "late.mp4", originals[0], 20, 150, crf=30)
    again(source / "bob" / "own.mp4", originals[2])
    shutil.copy(source / "bob" / "own.mp4", source / "bob" / "same.mp4")
    summary = preprocess(source=source, out=tmp_path / "out", image_size=64, workers=1)
    assert (summary.kept, summary.refused) == (2, 2)
    rows = {row["clip"]: row for row in pq.read_table(tmp_path / "out" / "report.parquet").to_pylist()}
    assert {name: row["duplicate_of"] for name, row in rows.items()} == {
        "ann/one.mp4": None, "bob/late.mp4": "ann/one.mp4", "bob/own.mp4": None, "bob/same.mp4": "bob/own.mp4",
    }  # fmt: skip
    assert rows["bob/late.mp4"]["decision"] == rows["bob/same.mp4"]["decision"] == "duplicate"
    assert 0 < rows["bob/late.mp4"]["duplicate_error"] < 0.3
    assert "it is the same file as bob/own.mp4" in rows["bob/same.mp4"]["clip_reason"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "the same recording as ann/one.mp4" in page
    kept = preprocess(source=source, out=tmp_path / "out", image_size=64, workers=1, duplicates="keep")
    assert (kept.kept, kept.refused) == (4, 0)

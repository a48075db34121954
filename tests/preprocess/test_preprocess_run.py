import json
import os

import numpy as np
import pytest

from anchor.errors import ConfigError, FaceError, MediaError, ShardError
from anchor.media import write_video
from anchor.preprocess import preprocess
from anchor.preprocess.sources import find_sources
from anchor.shards import ShardSet

EVENTS_S = (0.52, 1.0, 1.64, 2.2)  # see conftest.py


def onsets(signal_, level, rate):
    is_on = np.concatenate([[False], signal_ > level])
    return np.flatnonzero(np.diff(is_on.astype(int)) == 1) / rate


def seen_and_heard(shards):
    """When the patch turns blue and when the beep starts, in seconds of the source, over all segments."""
    seen, heard = [], []
    for clip in shards.clips:
        start_s = shards.read_meta(clip)["start_s"]
        frames = shards.read_frames(clip, range(clip.num_frames)).astype(int)
        blue = (frames[..., 2] - frames[..., 0] > 90).mean(axis=(1, 2))
        seen += list(start_s + onsets(blue, 0.004, 25))
        heard += list(start_s + onsets(shards.read_mel(clip).mean(1), -1.0, 80))
    return np.array(sorted(seen)), np.array(sorted(heard))


@pytest.mark.parametrize(("fps", "late_s"), [(25.0, 0.0), (30.0, 0.0), (25.0, 0.36), (30_000 / 1001, 0.3)])
def test_picture_and_speech_agree_to_a_frame(tmp_path, flashing, no_models, fps, late_s):
    flashing(tmp_path / "clip.mp4", fps=fps, late_s=late_s)
    preprocess(source=tmp_path / "clip.mp4", out=tmp_path / "out", image_size=96, workers=1)
    seen, heard = seen_and_heard(ShardSet(tmp_path / "out"))
    assert len(seen) == len(heard) == len(EVENTS_S)
    np.testing.assert_allclose(heard, EVENTS_S, atol=0.04)
    np.testing.assert_allclose(seen, EVENTS_S, atol=0.04)
    np.testing.assert_allclose(seen, heard, atol=0.04)


def test_bad_files_do_not_stop_the_run(tmp_path, flashing, no_models, capsys):
    source = tmp_path / "source"
    for speaker in ("ann", "bob"):
        (source / speaker).mkdir(parents=True)
        flashing(source / speaker / "good.mp4")
    good = (source / "ann" / "good.mp4").read_bytes()
    (source / "ann" / "text.mp4").write_text("no video")
    (source / "ann" / "zero.mp4").write_bytes(b"")
    (source / "bob" / "cut.mp4").write_bytes(good[: len(good) // 8])
    write_video(source / "bob" / "mute.mp4", [np.zeros((64, 64, 3), np.uint8)] * 30)
    write_video(
        source / "bob" / "empty_room.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 30, audio=np.zeros(19200, np.float32)
    )
    summary = preprocess(source=source, out=tmp_path / "out", image_size=64, workers=2, duplicates="keep")
    assert (summary.kept, summary.refused) in ((2, 5), (3, 4))  # of the cut one a start may be left
    printed = capsys.readouterr()
    assert str(summary) in printed.out
    assert "preprocess: 7/7 clips" in printed.err
    shards = ShardSet(tmp_path / "out")
    assert {clip.split for clip in shards.clips} == {"train", "val"}
    assert shards.manifest["speakers"] == ["ann", "bob"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    reasons = {clip["source"]: clip["reason"] for clip in report["clips"]}
    assert "zero bytes" in reasons["ann/zero.mp4"]
    assert "no video or sound" in reasons["ann/text.mp4"]
    assert "no audio track" in reasons["bob/mute.mp4"]
    assert "no face" in reasons["bob/empty_room.mp4"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "http" not in page
    assert all(name in page for name in reasons)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_broken_clips_are_refused_one_by_one(tmp_path, flashing, no_models, capsys):
    source = tmp_path / "source"
    source.mkdir()
    good = flashing(source / "good.mp4", seconds=2.0)
    data = good.read_bytes()
    flipped = bytearray(data)
    middle = slice(len(data) // 4, len(data) // 4 + len(data) // 2)
    flipped[middle] = bytes(255 - byte for byte in data[middle])
    (source / "flipped.mp4").write_bytes(flipped)
    (source / "headless.mp4").write_bytes(data[len(data) // 2 :])
    flashing(source / "moment.mp4", seconds=0.08)
    (source / "link.mp4").symlink_to(source / "nowhere.mp4")  # no file: not a clip at all
    os.mkfifo(source / "pipe.mp4")  # nor is this one
    (source / "clear\x1b[2J\n.mp4").touch()
    (source / os.fsdecode(b"latin\xe9.mp4")).write_bytes(data)
    assert all((one.name + one.speaker).isprintable() for one in find_sources(source))
    preprocess(source=source, out=tmp_path / "out", image_size=64, workers=1)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    clips = {clip["source"]: clip for clip in report["clips"]}
    odd = {r"clear\x1b[2J\n.mp4", r"latin\udce9.mp4"}
    assert set(clips) == {"good.mp4", "flipped.mp4", "headless.mp4", "moment.mp4", *odd}
    assert clips["good.mp4"]["is_kept"]
    for name in ("headless.mp4", "moment.mp4"):
        assert not clips[name]["is_kept"]
    assert "segment needs 15" in clips["moment.mp4"]["reason"]
    for clip in clips.values():
        assert clip["is_kept"] or name_is_in(clip["reason"], clip["source"])
        assert "report this clip" not in clip["reason"]
        assert "Traceback" not in clip["reason"]
    assert "refused moment.mp4" in capsys.readouterr().err


def name_is_in(reason, name):
    return name in reason and reason.endswith(".") and "\n" not in reason


def test_a_folder_without_videos_names_what_it_has(tmp_path, no_models):
    for name in ("voice.wav", "notes.txt"):
        (tmp_path / name).write_text("x")
    with pytest.raises(MediaError, match=r"holds no video .* it has notes\.txt, voice\.wav"):
        preprocess(source=tmp_path, out=tmp_path / "out")


def test_a_face_lost_in_the_dark_is_left_out(tmp_path, flashing, no_models):
    clip = flashing(tmp_path / "clip.mp4", seconds=1.6)
    assert preprocess(source=clip, out=tmp_path / "a", image_size=64, workers=1).frames == 40
    with pytest.raises(
        MediaError, match=r"1 flat \(contrast \d+, the limit is 100\). The face is too dark or too flat"
    ):
        preprocess(source=clip, out=tmp_path / "b", image_size=64, workers=1, min_contrast=100)


def test_a_finished_set_is_left_alone_and_a_changed_one_is_made_again(tmp_path, flashing, no_models, capsys):
    source = flashing(tmp_path / "clip.mp4", seconds=1.6)
    arguments = {"source": source, "out": tmp_path / "out", "image_size": 64, "workers": 1}
    first = preprocess(**arguments)
    state = (tmp_path / "out" / "manifest.json").stat()
    assert first.segments == 2  # one person, one segment: cut in two, so that something is held out
    assert {clip.split for clip in ShardSet(tmp_path / "out").clips} == {"train", "val"}
    capsys.readouterr()
    assert preprocess(**arguments) == first
    assert "already made" in capsys.readouterr().out
    assert (tmp_path / "out" / "manifest.json").stat().st_ino == state.st_ino
    bytes_before = next((tmp_path / "out").glob("*.tar")).read_bytes()
    next((tmp_path / "out").glob("*.tar")).write_bytes(b"damaged")
    preprocess(**arguments)
    assert next((tmp_path / "out").glob("*.tar")).read_bytes() == bytes_before  # the same input, the same shards
    preprocess(**{**arguments, "image_size": 48})
    assert ShardSet(tmp_path / "out").image_size == 48


def test_truth_is_kept_and_cut(tmp_path, flashing, no_models):
    source = flashing(tmp_path / "clip.mp4", seconds=1.6)
    truth = {
        "speaker": "drawn",
        "opening": [i / 100 for i in range(40)],
        "boxes": [None] * 40,
        "fps": 25,
        "phonemes": [["a", 1.0]],
    }
    source.with_suffix(".truth.json").write_text(json.dumps(truth))
    preprocess(source=source, out=tmp_path / "out", image_size=64, workers=1)
    shards = ShardSet(tmp_path / "out")
    for clip in shards.clips:
        meta = shards.read_meta(clip)
        first = round(meta["start_s"] * 25)
        assert clip.speaker == meta["speaker"] == "drawn"
        assert meta["truth"]["opening"] == [i / 100 for i in range(first, first + clip.num_frames)]
        assert len(meta["boxes"]) == clip.num_frames
        expected = [["a", pytest.approx(1.0 - first / 25)]] if first <= 25 < first + clip.num_frames else []
        assert meta["truth"]["phonemes"] == expected


def test_the_end_of_every_clip_can_be_held_out(tmp_path, flashing, no_models):
    for name in ("ann", "bob"):
        (tmp_path / "source" / name).mkdir(parents=True)
        flashing(tmp_path / "source" / name / "clip.mp4")  # 2.8 s, 70 frames
    preprocess(
        source=tmp_path / "source", out=tmp_path / "out", image_size=64, workers=1, hold_out_s=0.8, duplicates="keep"
    )
    shards = ShardSet(tmp_path / "out")
    found = {(clip.speaker, clip.split): (shards.read_meta(clip)["start_s"], clip.num_frames) for clip in shards.clips}
    assert found == {
        ("ann", "train"): (0, 50), ("ann", "val"): (2, 20), ("bob", "train"): (0, 50), ("bob", "val"): (2, 20),
    }  # fmt: skip


def test_nothing_kept_is_an_error_and_leaves_nothing(tmp_path, no_models):
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(MediaError, match="no video or sound"):
        preprocess(source=tmp_path / "bad.mp4", out=tmp_path / "out", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.mp4"]


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ({"image_size": 8}, ConfigError), ({"val_share": 0}, ConfigError), ({"detect_every": 0}, ConfigError),
        ({"segment_s": 0.7}, ConfigError), ({"min_s": 0.1}, ConfigError), ({"workers": -1}, ConfigError),
        ({"detector": "insightface"}, FaceError), ({"align": "affine"}, ConfigError),
        ({"offset": "guess"}, ConfigError), ({"max_silence": 2}, ConfigError),
        ({"silent_quota": 1}, ConfigError), ({"min_speech_db": 3}, ConfigError), ({"hold_out_s": 0.3}, ConfigError),
        ({"hold_out_s": 2, "split": "speaker"}, ConfigError),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_first(tmp_path, no_models, argument, error):
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(error, match=next(iter(argument))):
        preprocess(source=tmp_path / "bad.mp4", out=tmp_path / "out", **argument)


def test_a_folder_with_other_things_is_never_replaced(tmp_path, no_models):
    (tmp_path / "bad.mp4").write_text("no video")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(ShardError, match=r"thesis\.tex"):
        preprocess(source=tmp_path / "bad.mp4", out=tmp_path / "out")


@pytest.mark.parametrize("name", ["g01_360x288_mpeg1.mpg", "p02_man_700px_vfr22.mp4", "x01_multishot_2997fps.mp4"])
def test_real_clips_go_through(tmp_path, data_dir, no_models, name):
    summary = preprocess(source=data_dir / "data" / "clips" / name, out=tmp_path / "out", image_size=96, workers=1)
    assert summary.segments >= 2
    shards = ShardSet(tmp_path / "out")
    for clip in shards.clips:
        assert shards.read_frames(clip, [0, clip.num_frames - 1]).shape == (2, 96, 96, 3)
        assert len(shards.read_mel(clip)) == 1 + clip.num_frames * 16 // 5
        assert len(shards.read_audio(clip)) == clip.num_frames * 640
    if name.startswith("x01"):
        assert min(shards.read_meta(clip)["start_s"] for clip in shards.clips) >= 0.84


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "detector"), [("p01_woman_900px_25fps.mp4", "yunet"), ("p08_man_256px_25fps_60s.mp4", "haar")]
)
def test_long_real_clips_go_through(tmp_path, data_dir, monkeypatch, name, detector):
    monkeypatch.setenv("ANCHOR_MODELS", str(data_dir / "models"))
    summary = preprocess(source=data_dir / "data" / "clips" / name, out=tmp_path / "out", detector=detector, workers=1)
    seconds = 15.0 if name.startswith("p01") else 59.96
    assert summary.seconds == pytest.approx(seconds, abs=0.5)
    assert summary.segments == (2 if seconds < 20 else 6)

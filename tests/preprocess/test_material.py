"""Raw material: what is measured of it, what is said about it, and what a run leaves."""

import dataclasses
import inspect
import json

import cv2
import numpy as np
import pytest

from anchor.errors import ConfigError, MediaError
from anchor.faces import crop_face, make_detector
from anchor.media import FrameReader, write_video
from anchor.ops.quality import SHARPNESS_PX, sharpness
from anchor.preprocess import preprocess
from anchor.preprocess.clip import MIN_CONTRAST as PREPROCESS_MIN_CONTRAST
from anchor.preprocess.material import Limits, check, judge, lips, measure_clip, page, verdict
from anchor.preprocess.people import MIN_FACE_PX as PREPROCESS_MIN_FACE_PX
from anchor.preprocess.sync import Offset
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip

SOUND = np.zeros(32_000, np.float32)


@pytest.fixture
def bad_folder(tmp_path, flashing):
    """Good clips and one of every kind that cannot be used."""
    folder = tmp_path / "source"
    folder.mkdir()
    flashing(folder / "good.mp4", seconds=1.6)
    flashing(folder / "brief.mp4", seconds=0.4)
    (folder / "text.mp4").write_text("no video")
    (folder / "zero.mp4").write_bytes(b"")
    (folder / "cut.mp4").write_bytes((folder / "good.mp4").read_bytes()[:3000])
    write_video(folder / "mute.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 30)
    write_video(folder / "empty_room.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 30, audio=SOUND)
    return folder


def test_what_is_refused_is_what_preprocess_refuses(bad_folder, tmp_path, no_models, capsys):
    summary = check(bad_folder, out=tmp_path / "report", workers=1)
    printed = capsys.readouterr().out.replace(str(tmp_path), "")
    assert (summary.clips, summary.kept) == (7, 1)
    preprocess(source=bad_folder, out=tmp_path / "shards", image_size=64, workers=1)
    theirs = json.loads((tmp_path / "shards" / "report.json").read_text())["clips"]
    ours = json.loads((tmp_path / "report" / "material.json").read_text())["clips"]
    assert {clip["name"]: clip["reason"] for clip in ours} == {clip["source"]: clip["reason"] for clip in theirs}
    assert [clip["is_kept"] for clip in ours] == [False] * 6 + [True]
    assert all(clip["name"] in printed for clip in ours)
    assert max(map(len, printed.splitlines())) <= 120
    assert "has no audio track" in " ".join(printed.split())


def test_limits_of_refusal_are_those_of_preprocess():
    min_s = inspect.signature(preprocess).parameters["min_s"].default
    assert round(min_s * 25) == verdict.MIN_FRAMES
    assert (verdict.MIN_FACE_PX, verdict.MIN_CONTRAST) == (PREPROCESS_MIN_FACE_PX, PREPROCESS_MIN_CONTRAST)


def test_a_clip_is_measured(tmp_path, flashing, face, no_models):
    picture, box = face
    path = flashing(tmp_path / "clip.mp4", fps=30, seconds=2.8)
    measures, pictures = measure_clip(path)
    assert (measures.width, measures.height) == picture.shape[1::-1]
    assert measures.fps == pytest.approx(30, abs=0.1)
    assert not measures.is_variable_rate
    assert measures.seconds == pytest.approx(2.8, abs=0.1)
    assert measures.faces.height_px == pytest.approx(box[3] - box[1], rel=0.15)
    assert measures.faces.found_share > 0.95
    assert measures.faces.count == 1
    assert measures.usable_s == pytest.approx(2.8, abs=0.2)
    assert measures.sound.channels in (1, 2)
    assert measures.sound.silence_share == pytest.approx(1 - 4 * 0.12 / 2.8, abs=0.1)
    assert -20 < measures.sound.level_db < -9  # bursts of noise at -10.5 dB
    assert len(pictures.faces) == 3
    assert verdict.judge(path, measures).is_kept


@pytest.mark.parametrize(
    ("faces", "sound", "rest", "kind"),
    [
        ({"sharpness": 0.2}, {}, {}, "soft"),
        ({"height_px": 60}, {}, {}, "small face"),
        ({"luma": 40.0}, {}, {}, "dark"),
        ({"bright_share": 0.2}, {}, {}, "bright"),
        ({"found_share": 0.4}, {}, {}, "face missing"),
        ({"count": 2}, {}, {}, "several faces"),
        ({}, {"level_db": -50.0, "noise_db": -80.0}, {}, "quiet"),
        ({}, {"clipped_share": 0.02}, {}, "clipped sound"),
        ({}, {"noise_db": -25.0}, {}, "noisy"),
        ({}, {"silence_share": 0.7}, {}, "silent"),
        ({}, {}, {"is_variable_rate": True}, "variable rate"),
        ({}, {}, {"fps": 12.0}, "low rate"),
    ],
)
def test_every_fault_is_one_note_and_no_refusal(good_measures, tmp_path, faces, sound, rest, kind):
    assert judge(tmp_path, good_measures) == verdict.Verdict(True)
    worse = dataclasses.replace(
        good_measures,
        faces=dataclasses.replace(good_measures.faces, **faces),
        sound=dataclasses.replace(good_measures.sound, **sound),
        **rest,
    )
    said = judge(tmp_path, worse)
    assert said.is_kept
    assert [note.kind for note in said.notes] == [kind]
    assert verdict.ADVICE[kind] in verdict.advise([(worse, said)])


LIPS = Offset("established", 0.0, 1.0, "", 250, 9.0, ((0, 9.0),))


@pytest.mark.parametrize(("ms", "kinds"), [(90.0, []), (-90.0, []), (240.0, ["sound late"]), (-190.0, ["sound early"])])
def test_sound_beside_the_lips_is_noted_and_no_refusal(good_measures, tmp_path, ms, kinds):
    worse = dataclasses.replace(good_measures, lips=dataclasses.replace(LIPS, offset_ms=ms))
    said = judge(tmp_path, worse)
    assert said.is_kept
    assert [note.kind for note in said.notes] == kinds
    for note in said.notes:
        assert f"{abs(ms):.0f} ms" in note.text
        assert verdict.ADVICE[note.kind] in verdict.advise([(worse, said)])


def test_sound_of_other_lips_is_refused_and_an_open_question_is_kept(good_measures, tmp_path):
    foreign = dataclasses.replace(LIPS, status="no match", offset_ms=None, reason="nothing fits")
    said = judge(tmp_path / "clip.mp4", dataclasses.replace(good_measures, lips=foreign))
    assert not said.is_kept
    assert said.reason.startswith(f"{tmp_path / 'clip.mp4'}: nothing fits. Use")
    unsure = dataclasses.replace(LIPS, status="not established", offset_ms=None)
    assert judge(tmp_path, dataclasses.replace(good_measures, lips=unsure)) == verdict.Verdict(True)


def write_speaker(path, seconds, late_ms, speaker=3, sound_of=None):
    clip = make_clip(draw_person(speaker, 1), 0, seconds=seconds, size=160, offset_ms=late_ms)
    sound = clip if sound_of is None else make_clip(draw_person(sound_of, 1), 0, seconds=seconds, size=96)
    write_video(path, clip.frames(), audio=sound.samples, preset="ultrafast")


def test_the_offset_is_measured_printed_and_kept(tmp_path, no_models, capsys):
    source = tmp_path / "source"
    source.mkdir()
    write_speaker(source / "late.mp4", 7, 280)
    write_speaker(source / "brief.mp4", 3, 0)
    check(source, out=tmp_path / "out", workers=1)
    check(source, out=tmp_path / "out", workers=1)  # the second run reads what the first left
    printed = capsys.readouterr().out
    clips = {clip["name"]: clip for clip in json.loads((tmp_path / "out" / "material.json").read_text())["clips"]}
    assert clips["late.mp4"]["measures"]["lips"]["offset_ms"] == pytest.approx(260, abs=40)
    assert clips["brief.mp4"]["measures"]["lips"]["status"] == "not established"
    assert f"{clips['late.mp4']['measures']['lips']['offset_ms']:+.0f} ms" in printed
    assert "not est." in printed
    text = (tmp_path / "out" / "material.html").read_text()
    assert text.count("data-label='lips'") == 2
    assert ">not established</td>" in text


@pytest.mark.slow
def test_a_long_clip_is_measured_on_pieces_of_it(tmp_path, no_models):
    write_speaker(tmp_path / "long.mp4", 90, 200)
    measures, _ = measure_clip(tmp_path / "long.mp4")
    assert 0.95 < measures.lips.frames / (lips.PIECES * lips.PIECE) <= 1
    assert measures.lips.offset_ms == pytest.approx(180, abs=40)
    write_speaker(tmp_path / "foreign.mp4", 30, 0, sound_of=8)
    measures, _ = measure_clip(tmp_path / "foreign.mp4")
    assert measures.lips.status == "no match"


def test_limits_can_be_moved(good_measures, tmp_path):
    assert [note.kind for note in judge(tmp_path, good_measures, Limits(sharpness=0.9)).notes] == ["soft"]


def test_a_face_too_flat_to_show_lips_is_refused(good_measures, tmp_path):
    flat = dataclasses.replace(good_measures, faces=dataclasses.replace(good_measures.faces, contrast=12.0))
    assert "too dark or too flat" in judge(tmp_path, flat).reason


@pytest.fixture
def good_measures():
    from anchor.preprocess.material import Faces, Measures, Sound

    return Measures(
        width=640, height=480, fps=25.0, is_variable_rate=False, codec="h264", frames=250, usable_s=10.0,
        longest_run=250, frames_seen=250, detector="haar", sound_reason="",
        faces=Faces(1.0, 1, 200, 0.6, 140.0, 0.0, 0.0, 40.0),
        sound=Sound(48_000, 2, 10.0, -20.0, 0.8, -50.0, 0.1, 0.0),
    )  # fmt: skip


def test_a_second_run_measures_only_what_changed(tmp_path, flashing, no_models, in_this_process, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    flashing(source / "one.mp4", seconds=1.0)
    flashing(source / "two.mp4", seconds=1.2)
    first = check(source, out=tmp_path / "out", workers=1)
    measured = []

    def spy(path, *rest):
        measured.append(path.name)
        return measure_clip(path, *rest)

    monkeypatch.setattr("anchor.preprocess.material.run.measure_clip", spy)
    assert check(source, out=tmp_path / "out", workers=1) == first
    assert measured == []
    flashing(source / "two.mp4", seconds=1.4)
    check(source, out=tmp_path / "out", workers=1)
    assert measured == ["two.mp4"]


def test_ctrl_c_reports_what_was_checked(tmp_path, flashing, no_models, in_this_process, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("one.mp4", "two.mp4"):
        flashing(source / name, seconds=1.0)

    def stop_at_two(path, *rest):
        if path.name == "two.mp4":
            raise KeyboardInterrupt
        return measure_clip(path, *rest)

    monkeypatch.setattr("anchor.preprocess.material.run.measure_clip", stop_at_two)
    with pytest.raises(KeyboardInterrupt, match="1 of 2 clips are checked"):
        check(source, out=tmp_path / "out", workers=1)
    assert [clip["name"] for clip in json.loads((tmp_path / "out" / "material.json").read_text())["clips"]] == [
        "one.mp4"
    ]
    monkeypatch.undo()
    assert check(source, out=tmp_path / "out", detector="haar", workers=1).clips == 2


def test_several_workers_find_the_same(tmp_path, flashing, no_models):
    source = tmp_path / "source"
    source.mkdir()
    for i in range(2):
        flashing(source / f"{i}.mp4", seconds=1.0)
    one = check(source, out=tmp_path / "one", workers=1)
    two = check(source, out=tmp_path / "two", workers=2)
    assert dataclasses.replace(two, out=one.out) == one
    read = [json.loads((tmp_path / name / "material.json").read_text())["clips"] for name in ("one", "two")]
    assert read[0] == read[1]


def test_nothing_usable_is_one_sentence(tmp_path, no_models):
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(MediaError, match="holds no video"):
        check(source, out=tmp_path / "out")
    (source / "zero.mp4").write_bytes(b"")
    with pytest.raises(MediaError, match="zero bytes"):
        check(source, out=tmp_path / "out", workers=1)
    (source / "text.mp4").write_text("no video")
    with pytest.raises(MediaError, match="None of 2 clips can be used"):
        check(source, out=tmp_path / "out", workers=1)
    with pytest.raises(MediaError, match="does not exist"):
        check(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        check(source, out=tmp_path / "file" / "out", workers=1)


def test_the_page_stands_alone_and_trusts_no_name(tmp_path, flashing, no_models):
    source = tmp_path / "source"
    source.mkdir()
    flashing(source / "<b>'&.mp4", seconds=1.0)
    (source / "zero.mp4").write_bytes(b"")
    check(source, out=tmp_path / "out", workers=1)
    text = (tmp_path / "out" / "material.html").read_text()
    assert text.count("data:image/jpeg;base64,") == 4
    assert "http" not in text
    assert "<b>'&" not in text
    assert "&lt;b&gt;&#x27;&amp;.mp4" in text
    assert text.index("zero.mp4") < text.index("&lt;b&gt;")  # the worst first
    assert all(text.count(f"<dt>{name}</dt>") == 1 for name in page.MEANINGS)


def test_blur_and_scaling_make_real_faces_softer(data_dir):
    detector = make_detector("haar")
    for name in ("p01_woman_900px_25fps.mp4", "p04_woman_512px_25fps.mp4"):
        _, frame = next(iter(FrameReader(data_dir / "data" / "clips" / name)))
        box, height, width = detector.detect(frame)[0].box, *frame.shape[:2]

        def measure(picture, box=box):
            return sharpness(crop_face(picture, box, SHARPNESS_PX))

        blurred = [frame, *(cv2.GaussianBlur(frame, (0, 0), sigma) for sigma in (1, 2, 4, 8))]
        small = [cv2.resize(frame, None, fx=f, fy=f, interpolation=cv2.INTER_AREA) for f in (0.7, 0.35, 0.15)]
        scaled = [frame, *(cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in small)]
        for series in (blurred, scaled):
            values = [measure(picture) for picture in series]
            assert values == sorted(values, reverse=True)
            assert values[0] > 1.5 * values[-1]
        assert measure(blurred[0]) > Limits().sharpness > measure(blurred[3])


def test_real_clips_are_told_apart(data_dir, monkeypatch):
    monkeypatch.setenv("ANCHOR_MODELS", str(data_dir / "models"))
    kinds = {}
    for name in ("p10_480px_25fps", "p02_man_700px_vfr22", "g06_360x288_mpeg1"):
        path = next((data_dir / "data" / "clips").glob(f"{name}.*"))
        kinds[name[:3]] = {note.kind for note in judge(path, measure_clip(path)[0]).notes}
    assert kinds == {"p10": {"soft", "sound late"}, "p02": {"variable rate"}, "g06": set()}

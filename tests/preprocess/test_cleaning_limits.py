import json
import re
from dataclasses import fields, replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from anchor.errors import ConfigError, MediaError
from anchor.media import write_video
from anchor.preprocess import preprocess
from anchor.preprocess.cleaning import KINDS, Limits, SegmentMeasures, judge
from anchor.preprocess.cleaning.measures import MouthRest
from anchor.preprocess.cleaning.quota import draw_silent
from anchor.preprocess.segments import Segment
from anchor.shards import ShardSet
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip

GOOD = SegmentMeasures(
    face_px=200, sharpness=0.55, luma=140, contrast=40, yaw_deg=10, pitch_deg=6, roll_deg=4, speech_db=-20,
    activity=0.9, silence_share=0.2, mouth_motion=0.1, silent_motion=0.03, spoken_motion=0.11,
)  # fmt: skip
BAD = [
    ("min_face_px", {"face_px": 31}, "small face"),
    ("min_sharpness", {"sharpness": 0.1}, "soft"),
    ("min_luma", {"luma": 20}, "dark"),
    ("max_luma", {"luma": 250}, "bright"),
    ("min_contrast", {"contrast": 12}, "flat"),
    ("max_yaw", {"yaw_deg": 55}, "turned"),
    ("max_pitch", {"pitch_deg": 41}, "turned"),
    ("max_roll", {"roll_deg": 41}, "turned"),
    ("min_speech_db", {"speech_db": -60}, "quiet"),
    ("max_silence", {"silence_share": 0.95}, "silent"),
]


@pytest.mark.parametrize(("key", "change", "kind"), BAD)
def test_every_limit_leaves_out_what_is_beyond_it_and_none_or_zero_is_no_limit(key, change, kind):
    measures = replace(GOOD, **change)
    verdict = judge(measures, Limits())
    assert verdict.decision == kind
    assert kind in KINDS
    assert re.search(r"the limit is -?[\d.]+", verdict.why)
    for off in (None, 0):
        assert judge(measures, Limits(**{key: off})).decision == "kept"


def test_every_limit_was_tried():
    assert {key for key, _, _ in BAD} == {field.name for field in fields(Limits)}


def test_a_good_segment_is_kept_and_all_faults_of_a_bad_one_are_said():
    assert judge(GOOD, Limits()).decision == "kept"
    verdict = judge(replace(GOOD, sharpness=0.1, yaw_deg=60), Limits())
    assert verdict.decision == "soft"
    assert verdict.why == "sharpness 0.10, the limit is 0.20; turned aside by 60 degrees, the limit is 40"
    unknown = replace(GOOD, sharpness=None, yaw_deg=None, pitch_deg=None, roll_deg=None, mouth_motion=None)
    assert judge(unknown, Limits()).decision == "kept"  # Haar gives no points


@pytest.mark.parametrize(
    ("silent_motion", "spoken_motion", "decision"),
    [(0.03, 0.12, "silent"), (0.06, 0.12, "silent"), (0.1, 0.12, "moving in silence"), (0.035, 0.04, "silent"),
     (0.1, None, "moving in silence"), (0.05, None, "silent")],
)  # fmt: skip
def test_a_mouth_that_moves_in_silence_is_no_closed_mouth(silent_motion, spoken_motion, decision):
    measures = replace(GOOD, silence_share=0.95, silent_motion=silent_motion, spoken_motion=spoken_motion)
    verdict = judge(measures, Limits())
    assert verdict.decision == decision
    assert verdict.is_written == (decision == "silent")


def test_a_limit_out_of_its_range_is_refused():
    with pytest.raises(ConfigError, match=r"max_yaw=120 is out of range. Give 0 to 90"):
        Limits(max_yaw=120)


def test_motion_in_pauses_is_told_from_motion_in_speech():
    samples = 0.1 * np.random.default_rng(0).standard_normal(640 * 200).astype(np.float32)
    samples[640 * 100 : 640 * 150] = 0
    motion = np.full(200, 0.1, np.float32)
    motion[104:146] = 0.02
    mouth = MouthRest(motion, samples)
    assert mouth.spoken == pytest.approx(0.1)
    assert mouth.silent(Segment(50, 200)) == pytest.approx(0.02)
    assert mouth.silent(Segment(0, 100)) is None
    assert mouth.moving(Segment(100, 150)) == pytest.approx((42 * 0.02 + 8 * 0.1) / 50)


def test_the_quota_of_silence_is_a_share_of_all_that_is_kept_and_does_not_depend_on_the_order():
    silent = [(f"clip{i}_000000", 100) for i in range(20)]
    drawn = draw_silent(silent, kept_frames=9000, quota=0.1, seed=0)
    assert len(drawn) == 10  # 1000 of 10000 frames
    assert drawn == draw_silent(silent[::-1], 9000, 0.1, 0)
    assert drawn != draw_silent(silent, 9000, 0.1, 1)
    assert draw_silent(silent, 9000, 0.0, 0) == draw_silent(silent, 0, 0.1, 0) == set()
    assert draw_silent(silent, 500, 0.1, 0) == set()  # no room for a whole one


@pytest.fixture(scope="module")
def pauses(tmp_path_factory):
    """A folder: two people who speak, and one who is silent for 2 s with the mouth at rest, and 2 s with it moving."""
    folder = tmp_path_factory.mktemp("pauses")
    for number in (0, 1):
        clip = make_clip(draw_person(3, number), 0, seconds=6, size=160)
        write_video(folder / f"speech{number}.mp4", clip.frames(), audio=clip.samples)
    clip = make_clip(draw_person(3, 2), 0, seconds=2, size=160)
    frames = list(clip.frames())
    hiss = (1e-3 * np.random.default_rng(0).standard_normal(2 * 16_000)).astype(np.float32)
    write_video(folder / "rest.mp4", iter([frames[0]] * 50), audio=hiss)
    write_video(folder / "mute.mp4", iter(frames), audio=hiss)
    return folder


def test_closed_mouths_are_kept_up_to_the_quota_and_moving_ones_never(tmp_path, pauses, no_models):
    rows = {}
    for quota in (0.0, 0.05, 0.2):
        out = tmp_path / str(quota)
        preprocess(source=pauses, out=out, image_size=64, workers=1, silent_quota=quota)
        rows[quota] = {row["clip"]: row for row in pq.read_table(out / "report.parquet").to_pylist()}
        keys = {clip.key for clip in ShardSet(out).clips}
        assert keys == {row["key"] for row in rows[quota].values() if row["is_kept"]}
    assert [rows[quota]["rest.mp4"]["decision"] for quota in rows] == ["silent", "silent", "kept"]
    assert rows[0.2]["rest.mp4"]["why"] == "100% silence, the limit is 90%; kept by silent_quota"
    assert {rows[quota]["mute.mp4"]["decision"] for quota in rows} == {"moving in silence"}
    assert {rows[quota]["speech0.mp4"]["decision"] for quota in rows} == {"kept"}


def test_the_reports_name_and_count_what_was_left_out(tmp_path, pauses, no_models):
    out = tmp_path / "out"
    (tmp_path / "source").mkdir()
    for path in pauses.iterdir():
        (tmp_path / "source" / path.name).symlink_to(path)
    (tmp_path / "source" / "broken.mp4").write_text("no video")
    preprocess(source=tmp_path / "source", out=out, image_size=64, workers=1)
    table = pq.read_table(out / "report.parquet")
    assert str(table.schema.field("sharpness").type) == "double"
    assert str(table.schema.field("is_kept").type) == "bool"
    rows = {row["clip"]: row for row in table.to_pylist()}
    assert rows["broken.mp4"]["decision"] == "refused"
    assert rows["broken.mp4"]["key"] is None
    speech = rows["speech0.mp4"]
    assert speech["split"] in ("train", "val")
    assert speech["seconds"] == pytest.approx(6.0, abs=0.05)
    assert speech["face_px"] > 60
    assert 0 < speech["sharpness"] < 1
    assert speech["yaw_deg"] is None
    report = json.loads((out / "report.json").read_text())
    left_out = {clip["source"]: clip["left_out"] for clip in report["clips"]}
    assert left_out["mute.mp4"][0]["decision"] == "moving in silence"
    assert left_out["speech0.mp4"] == []
    page = (out / "report.html").read_text()
    counts = re.search(r"<h2>Left out</h2>.*?</section>", page, re.S).group()
    for reason in ("refused whole", "silent", "moving in silence"):
        assert f"<td>{reason}</td><td class='n'>1</td>" in counts
    assert page.index("mute.mp4") < page.index("speech0.mp4")
    assert "at rest by" in page
    assert "http" not in page


def test_a_limit_may_refuse_everything_and_says_so(tmp_path, pauses, no_models):
    with pytest.raises(MediaError, match=r"1 small face \(the face is \d+ px high, the limit is 90\). Come closer|"
                                         r"px high, lips need 500 \(min_face_px\)"):  # fmt: skip
        preprocess(source=pauses / "speech0.mp4", out=tmp_path / "out", image_size=64, workers=1, min_face_px=500)
    with pytest.raises(MediaError, match=r"1 soft \(sharpness 0\.\d+, the limit is 0\.99\)\. Focus on the eyes"):
        preprocess(source=pauses / "speech0.mp4", out=tmp_path / "out", image_size=64, workers=1, min_sharpness=0.99)

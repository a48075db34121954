import numpy as np
import pyarrow.parquet as pq
import pytest

from anchor.errors import MediaError
from anchor.faces import crop_face
from anchor.media import read_audio, write_video
from anchor.ops.mel import log_mel
from anchor.preprocess import preprocess
from anchor.preprocess.settings import ClipSettings
from anchor.preprocess.sync import MouthLog
from anchor.preprocess.timing_check import FaceTiming, measure_face, settle_offset
from anchor.shards import ShardSet
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip

TOTAL = 100
SAMPLES = np.arange(TOTAL * 640, dtype=np.float32)


def settled(faces, **settings):
    return settle_offset(faces, SAMPLES, TOTAL, ClipSettings(96, "haar", 5, 250, 15, **settings))


@pytest.mark.parametrize(
    ("offset_ms", "frames"), [(240.0, range(94)), (0.0, range(100)), (-100.0, range(3, 100)), (50.5, range(98))]
)
def test_the_sound_is_shifted_to_the_sample(offset_ms, frames):
    timing = settled({None: FaceTiming("established", offset_ms, 0.9)})
    assert timing.corrected_ms == offset_ms
    assert timing.frames == frames
    late = round(16 * offset_ms)
    for frame in (frames.start, frames.stop - 1):  # what is heard now with a frame was recorded so much later
        start = 640 * frame
        assert timing.samples_L[start] == SAMPLES[start + late]
        assert timing.samples_L[start + 639] == SAMPLES[start + 639 + late]


@pytest.mark.parametrize(
    ("face", "settings"),
    [
        (FaceTiming("established", 240.0, 0.9), {"offset": "measure"}),
        (FaceTiming("not established", 240.0, 0.2), {}),
        (FaceTiming("no match", None, 0.0, "no shift fits"), {}),
        (FaceTiming("established", -40.0, 0.9), {}),  # hardly more than nothing
        (FaceTiming(), {}),
    ],
)
def test_what_is_not_established_or_only_measured_is_left_as_it_is(face, settings):
    timing = settled({None: face}, **settings)
    assert timing.corrected_ms == 0
    assert timing.frames == range(TOTAL)
    np.testing.assert_array_equal(timing.samples_L, SAMPLES)


def test_a_face_the_sound_does_not_belong_to_is_refused_unless_it_is_to_be_kept():
    faces = {0: FaceTiming("no match", None, 0.1), 1: FaceTiming("established", -80.0, 0.8), 2: FaceTiming()}
    timing = settled(faces)
    assert timing.corrected_ms == -80.0  # the one who speaks decides for all
    assert timing.facts()["status"] == "established"
    assert timing.facts()["faces"]["0"]["status"] == "no match"
    settings = ClipSettings(96, "haar", 5, 250, 15)
    assert [timing.is_refused(face, settings) for face in (0, 1, 2)] == [True, False, False]
    kept = ClipSettings(96, "haar", 5, 250, 15, on_no_match="keep")
    assert not any(timing.is_refused(face, kept) for face in (0, 1, 2))


def test_with_faces_speaking_nobody_is_asked_twice():
    speaking = ClipSettings(96, "haar", 5, 250, 15, faces="speaking")
    assert not settled({0: FaceTiming("no match")}).is_refused(0, speaking)


@pytest.fixture
def late_clip(tmp_path):
    """A drawn speaker of 8 s whose sound is 200 ms late."""
    clip = make_clip(draw_person(5, 0), 0, seconds=8, size=160, offset_ms=200)
    write_video(tmp_path / "late.mp4", clip.frames(), audio=clip.samples)
    return tmp_path / "late.mp4"


def test_late_sound_is_brought_back_to_its_lips(tmp_path, late_clip, no_models):
    heard = {}
    for offset in ("correct", "measure", "off"):
        preprocess(source=late_clip, out=tmp_path / offset, image_size=64, offset=offset, workers=1)
        shards = ShardSet(tmp_path / offset)
        heard[offset] = np.concatenate([shards.read_audio(one) for one in shards.clips])
        metas = [shards.read_meta(one) for one in shards.clips]
        row = pq.read_table(tmp_path / offset / "report.parquet").to_pylist()[0]
        if offset == "off":
            assert row["offset_status"] == "not measured"
            continue
        assert row["offset_status"] == "established"
        assert row["offset_ms"] == pytest.approx(200, abs=60)
        corrected = row["offset_ms"] if offset == "correct" else 0.0
        assert [meta["offset_ms"] for meta in metas] == pytest.approx([corrected] * len(metas), abs=0.04)
    np.testing.assert_array_equal(heard["measure"], heard["off"])
    late = round(16 * row_offset(tmp_path / "correct"))
    recorded = read_audio(late_clip)
    assert len(heard["correct"]) in range(8 * 16_000 - late - 640, 8 * 16_000 - late + 1)
    np.testing.assert_allclose(heard["correct"], recorded[late : late + len(heard["correct"])], atol=1e-4)
    assert "corrected by" in (tmp_path / "correct" / "report.html").read_text()


def row_offset(out):
    return pq.read_table(out / "report.parquet").to_pylist()[0]["corrected_ms"]


def test_another_persons_voice_is_refused_with_its_reason(tmp_path, no_models, in_this_process, monkeypatch):
    """The verdict is the estimator's; here is what becomes of it."""
    verdict = FaceTiming("no match", None, 0.1, "at no shift does the sound fit the lips")
    monkeypatch.setattr("anchor.preprocess.clip.measure_face", lambda *_: verdict)
    clip = make_clip(draw_person(5, 1), 0, seconds=2, size=128)
    write_video(tmp_path / "clip.mp4", clip.frames(), audio=clip.samples)
    arguments = {"source": tmp_path / "clip.mp4", "out": tmp_path / "out", "image_size": 64, "workers": 1}
    with pytest.raises(
        MediaError, match=r"1 no match \(at no shift does the sound fit the lips\)\. Sound and lips do not"
    ):
        preprocess(**arguments)
    assert preprocess(**arguments, on_no_match="keep").segments == 2


@pytest.mark.parametrize("first_s", [3.2, 4.0, 6.4])
def test_what_was_cut_together_from_two_recordings_is_not_corrected_by_the_offset_of_one(first_s):
    """The second shot is 320 ms late and the longer one: it would speak for both."""
    clips = [
        make_clip(draw_person(number, 3), 0, seconds=seconds, size=128, offset_ms=offset_ms)
        for number, seconds, offset_ms in ((3, first_s, 0), (4, 12.0, 320))
    ]
    mel_SM = log_mel(np.concatenate([clip.samples for clip in clips]))
    log, number, cut = MouthLog(), 0, len(clips[0].mouth)
    for clip in clips:
        for frame, box in zip(clip.frames(), clip.boxes(), strict=True):
            log.add(number, crop_face(frame, np.array(box), 64), is_new=number == cut)
            number += 1
    if first_s < 6:
        assert measure_face(log, mel_SM).offset_ms == pytest.approx(320, abs=40)  # where nobody knows of the cut
    told = measure_face(log, mel_SM, cuts=[cut])
    assert told.status == "not established"
    assert told.offset_ms is None


def test_shots_of_one_recording_are_corrected_together():
    clip = make_clip(draw_person(4, 3), 0, seconds=14.0, size=128, offset_ms=240, cut=True)
    log, cut = MouthLog(), clip.shots[1][2].start
    for number, (frame, box) in enumerate(zip(clip.frames(), clip.boxes(), strict=True)):
        log.add(number, crop_face(frame, np.array(box), 64), is_new=number == cut)
    told = measure_face(log, log_mel(clip.samples), cuts=[cut])
    assert told.status == "established"
    assert told.offset_ms == pytest.approx(240, abs=40)

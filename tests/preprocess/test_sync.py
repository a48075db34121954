"""How late the sound is against the lips: on signals made up, on rendered people, on real clips."""

import dataclasses

import cv2
import numpy as np
import pytest

from anchor.errors import FaceError, MediaError
from anchor.faces import FaceTracker, TrackSettings, crop_face, make_detector
from anchor.media import FrameReader, read_audio, write_video
from anchor.ops.mel import log_mel
from anchor.preprocess.sync import Limits, MouthLog, measure_offset
from anchor.preprocess.sync.mouth import MAX_FRAMES, MOUTH
from anchor.preprocess.sync.register import SIDE, FaceRegister
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip

FRAME_MS = 40


@pytest.fixture(scope="module")
def rendered():
    """Crops of a drawn speaker, 20 s, and its sound, which is on time."""
    clip = make_clip(draw_person(3, 1), 0, seconds=20, size=96)
    boxes = clip.boxes()
    crops = [
        cv2.cvtColor(crop_face(frame, box, SIDE), cv2.COLOR_RGB2GRAY)
        for frame, box in zip(clip.frames(), boxes, strict=True)
    ]
    return crops, clip.samples


def logged(crops, start=0, skip=()):
    log = MouthLog()
    for number, crop in enumerate(crops, start):
        if number not in skip:
            log.add(number, crop)
    return log


def late(samples, ms):
    count = 16 * ms
    return np.concatenate([np.zeros(count, np.float32), samples]) if count >= 0 else samples[-count:]


@pytest.mark.parametrize("ms", [-480, -200, 0, 90, 330, 480])
def test_a_rendered_offset_is_found_within_a_frame(rendered, ms):
    crops, samples = rendered
    offset = measure_offset(logged(crops[:250]), log_mel(late(samples, ms)))
    assert offset.status == "established"
    # A drawn frame shows the mouth of its first moment, and counts here as its middle.
    assert offset.offset_ms == pytest.approx(ms - FRAME_MS / 2, abs=FRAME_MS)
    assert offset.confidence > 0.99
    assert len(offset.curve) == 31
    assert max(offset.curve, key=lambda pair: pair[1])[0] == pytest.approx(offset.offset_ms, abs=FRAME_MS / 2 + 5)
    assert str(offset) == f"{offset.offset_ms:+.0f} ms"


def test_gaps_and_cuts_break_stretches_and_keep_the_clock(rendered):
    crops, samples = rendered
    skip = {40, *range(120, 170), 300}
    log = logged(crops, skip=skip)
    assert [stretch.start for stretch in log.stretches()] == [0, 41, 170, 301]
    assert sum(len(stretch.mouth) for stretch in log.stretches()) == len(log) == 500 - len(skip)
    offset = measure_offset(log, log_mel(late(samples, 200)))
    assert offset.offset_ms == pytest.approx(180, abs=FRAME_MS)
    cut = MouthLog()
    for number in range(60):
        cut.add(number, crops[number], is_new=number == 30)
    assert [stretch.start for stretch in cut.stretches()] == [0, 30]


def test_frames_count_from_the_first_sample_of_the_sound(rendered):
    crops, samples = rendered
    offset = measure_offset(logged(crops[100:350], start=100), log_mel(samples))
    assert offset.offset_ms == pytest.approx(-20, abs=FRAME_MS)


@pytest.mark.parametrize("change", ["backwards", "far away", "of another"])
def test_foreign_sound_is_no_match_and_never_an_offset(rendered, change):
    crops, samples = rendered
    if change == "of another":
        samples = make_clip(draw_person(8, 1), 0, seconds=20, size=96).samples
    samples = {"backwards": samples[::-1].copy(), "far away": np.roll(samples, 16_000 * 9)}.get(change, samples)
    offset = measure_offset(logged(crops), log_mel(samples))
    if change == "far away":  # it is the sound of these lips, seconds away
        assert offset.status == "not established"
        assert "moved by a second or more" in offset.reason
    else:
        assert offset.status == "no match"
    assert offset.offset_ms is None


def test_too_little_face_is_not_established(rendered):
    crops, samples = rendered
    mel_SM = log_mel(samples)
    offset = measure_offset(logged(crops[:140]), mel_SM)
    assert (offset.status, offset.offset_ms, offset.confidence, offset.frames) == ("not established", None, 0.0, 140)
    assert "5.6 s of face" in offset.reason
    scraps = logged(crops, skip=set(range(0, 500, 20)))  # stretches of 19 frames
    assert measure_offset(scraps, mel_SM).frames == 0
    assert measure_offset(MouthLog(), mel_SM).status == "not established"


def test_a_photograph_with_sound_says_nothing(rendered):
    crops, samples = rendered
    rng = np.random.default_rng(0)
    noisy = [np.clip(crops[0] + rng.normal(0, 2, (SIDE, SIDE)), 0, 255).astype(np.uint8) for _ in range(400)]
    assert measure_offset(logged(noisy), log_mel(samples)).reason == "the mouth hardly moves"
    assert measure_offset(logged([crops[0]] * 400), log_mel(samples)).offset_ms is None


def test_silence_noise_and_a_steady_tone_say_nothing(rendered):
    crops, _ = rendered
    rng = np.random.default_rng(0)
    times_s = np.arange(320_000) / 16_000
    for samples in (np.zeros(320_000), 0.1 * rng.standard_normal(320_000), 0.3 * np.sin(2800 * times_s)):
        offset = measure_offset(logged(crops), log_mel(samples.astype(np.float32)))
        assert offset.status == "not established"
        assert "the sound hardly changes" in offset.reason or "0.0 s of sound" in offset.reason


def test_a_few_words_in_long_silence_are_too_little(rendered):
    crops, samples = rendered
    quiet = np.concatenate([samples[: 16_000 * 3], np.zeros(16_000 * 17, np.float32)])
    offset = measure_offset(logged(crops), log_mel(quiet))
    assert (offset.status, offset.offset_ms) == ("not established", None)
    assert "s of sound, 4 s are needed" in offset.reason


def test_music_is_no_offset(rendered):
    crops, _ = rendered
    rng = np.random.default_rng(1)
    times_s = np.arange(320_000) / 16_000
    samples = np.zeros(320_000)
    for beat_s in np.arange(0, 20, 0.25):
        envelope = np.exp(-8 * np.maximum(times_s - beat_s, 0)) * (times_s >= beat_s)
        samples += 0.2 * envelope * np.sin(2 * np.pi * rng.choice([220, 262, 330, 392, 440]) * times_s)
    assert measure_offset(logged(crops), log_mel(samples.astype(np.float32))).offset_ms is None


def test_a_drifting_offset_is_told_and_not_averaged(rendered):
    crops, samples = rendered
    slow = np.interp(np.arange(336_000) / 1.012, np.arange(len(samples)), samples)  # 240 ms late at the end
    offset = measure_offset(logged(crops), log_mel(slow.astype(np.float32)))
    assert offset.status == "not established"
    assert "drifts" in offset.reason


def test_a_long_clip_is_looked_at_in_five_pieces():
    log = MouthLog(45_000)
    wanted = [number for number in range(45_000) if log.wants(number)]
    assert len(wanted) == MAX_FRAMES
    assert int((np.diff(wanted) > 1).sum()) == 4
    assert (wanted[0], wanted[-1]) == (0, 44_999)
    short = MouthLog(1000)
    assert all(short.wants(number) for number in range(1000))


def test_a_log_forgets_what_it_does_not_want():
    log = MouthLog(3000)
    grey = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), np.uint8)
    for number in range(295, 305):
        log.add(number, grey)
    assert len(log) == 5


def test_a_nod_leaves_nothing_of_itself_at_the_mouth(rendered):
    crops, _ = rendered
    register = FaceRegister()
    still = register.add(crops[0])
    middle = (SIDE / 2, SIDE / 2)
    for degrees, scale, x, y in ((0, 1, 2.3, -1.4), (3, 1.02, -1, 2), (-4, 0.97, 0, 0)):
        matrix = cv2.getRotationMatrix2D(middle, degrees, scale)
        matrix[:, 2] += (x, y)
        moved = cv2.warpAffine(crops[0], matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        untouched = np.abs((moved.astype(float) - crops[0])[MOUTH]).mean() / crops[0].std()
        assert np.abs(register.add(moved) - still)[MOUTH].mean() < 0.5 * untouched


def test_wrong_input_is_one_sentence(rendered):
    crops, _ = rendered
    log = MouthLog()
    log.add(5, crops[0])
    with pytest.raises(FaceError, match="Frame 5 came after frame 5"):
        log.add(5, crops[0])
    for bad in (crops[0][:32, :32], crops[0][:, :40], crops[0].astype(np.float32), np.zeros((64, 64, 4), np.uint8)):
        with pytest.raises(FaceError, match="square uint8 crops"):
            log.add(6, bad)
    with pytest.raises(MediaError, match="log-mel"):
        measure_offset(log, np.zeros((100, 40), np.float32))


def test_limits_can_be_moved(rendered):
    crops, samples = rendered
    strict = dataclasses.replace(Limits(), score=1000.0)
    offset = measure_offset(logged(crops[:250]), log_mel(samples), strict)
    assert (offset.status, offset.offset_ms) == ("not established", None)
    assert "1000.0 is needed" in offset.reason


def test_a_written_file_keeps_the_clock(tmp_path):
    clip = make_clip(draw_person(5, 1), 0, seconds=8, size=96, offset_ms=240)
    boxes = clip.boxes()
    path = tmp_path / "clip.mp4"
    write_video(path, clip.frames(), audio=clip.samples)
    log = MouthLog()
    for number, frame in FrameReader(path):
        log.add(number, crop_face(frame, boxes[number], 96))
    assert measure_offset(log, log_mel(read_audio(path))).offset_ms == pytest.approx(220, abs=FRAME_MS)


def look(path, seconds=None, detector="yunet"):
    """The log of the face followed, and the sound."""
    samples = read_audio(path)
    total = int(25 * seconds) if seconds else 10**6
    tracker, frames = FaceTracker(make_detector(detector), TrackSettings()), 0
    for frames, frame in FrameReader(path):
        if frames >= total:
            break
        tracker.add(frames, frame)
    total = min(total, frames + 1)
    track, log, last = tracker.result(total), MouthLog(total), -1
    for number, frame in FrameReader(path):
        if number >= total:
            break
        if track.ids[number] >= 0:
            log.add(number, crop_face(frame, track.boxes[number], 96), is_new=track.ids[number] != last)
            last = track.ids[number]
    return log, samples


def test_a_real_clip_whose_sound_is_late(data_dir, monkeypatch):
    monkeypatch.setenv("ANCHOR_MODELS", str(data_dir / "models"))
    log, samples = look(data_dir / "data" / "clips" / "p07_man_450px_25fps.mp4", seconds=8)
    assert measure_offset(log, log_mel(samples)).offset_ms == pytest.approx(280, abs=80)


@pytest.mark.slow
def test_real_clips_agree_with_an_independent_measurement(data_dir, monkeypatch):
    monkeypatch.setenv("ANCHOR_MODELS", str(data_dir / "models"))
    got, sounds, logs = {}, {}, {}
    for path in sorted((data_dir / "data" / "clips").iterdir()):
        name = path.name[:3]
        logs[name], samples = look(path)
        sounds[name] = log_mel(samples)
        got[name] = measure_offset(logs[name], sounds[name])
    referee = {"p01": 240, "p02": 0, "p03": 0, "p05": 0, "p07": 280, "p08": 40, "p10": 320}
    for name, ms in referee.items():
        assert got[name].offset_ms is None or got[name].offset_ms == pytest.approx(ms, abs=80), name
        assert got[name].status != "no match", name
    assert {name for name in referee if got[name].offset_ms is not None} >= {"p01", "p03", "p05", "p07", "p08", "p10"}
    assert [name for name in got if got[name].status == "no match"] == ["p06"]
    for name in ("g01", "g02", "g03", "g04", "g05", "g06", "g07", "p04", "p09", "x01"):
        assert got[name].status == "not established", name
    wrong = {
        (name, other): str(measure_offset(logs[name], sounds[other]))
        for name in referee
        for other in got
        if other != name
    }
    assert [pair for pair, said in wrong.items() if said.endswith("ms")] == []

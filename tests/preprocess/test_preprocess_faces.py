import json

import numpy as np
import pytest

from anchor.errors import ConfigError
from anchor.media import write_video
from anchor.preprocess import preprocess
from anchor.preprocess.speaking import choose_speaker
from anchor.shards import ShardSet
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip

SECONDS = 12
SIZE = 160


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two drawn speakers side by side, both talking; the left is heard first, the right in the second half."""
    one, other = (make_clip(draw_person(0, number), 0, seconds=SECONDS, size=SIZE) for number in (0, 1))
    half = SECONDS * 16_000 // 2
    sound = np.concatenate([one.samples[:half], other.samples[half:]])
    path = tmp_path_factory.mktemp("pair") / "pair.mp4"
    write_video(path, (np.hstack(both) for both in zip(one.frames(), other.frames(), strict=True)), audio=sound)
    return path


def sides(shards):
    """Per clip: its face, whether it lies left, its frames in the source."""
    found = []
    for clip in shards.clips:
        meta = shards.read_meta(clip)
        boxes = np.array(meta["boxes"])
        left = (boxes[:, 0] + boxes[:, 2]) / 2 < SIZE
        start = round(meta["start_s"] * 25)
        found.append((meta, left, range(start, start + clip.num_frames)))
    return found


def test_all_faces_have_segments_of_their_own(tmp_path, pair, no_models):
    preprocess(source=pair, out=tmp_path / "out", image_size=64, faces="all", workers=1)
    shards = ShardSet(tmp_path / "out")
    assert {clip.speaker for clip in shards.clips} == {"pair_f0", "pair_f1"}
    places = {}
    for (meta, left, frames), clip in zip(sides(shards), shards.clips, strict=True):
        assert clip.key.startswith(f"pair_f{meta['face']}_")
        assert clip.speaker == f"pair_f{meta['face']}"
        assert left.all() or not left.any()
        places.setdefault(meta["face"], set()).add(bool(left[0]))
        assert frames.start % 5 == 0
    assert sorted(map(sorted, places.values())) == [[False], [True]]
    by_face = {face: [c for c in shards.clips if c.key.startswith(f"pair_f{face}")] for face in (0, 1)}
    assert sum(c.num_frames for c in by_face[0]) == sum(c.num_frames for c in by_face[1]) == 25 * SECONDS
    np.testing.assert_array_equal(shards.read_audio(by_face[0][0]), shards.read_audio(by_face[1][0]))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "face 0, " in page
    assert "face 1, " in page


def test_only_the_speaking_face_is_kept(tmp_path, pair, no_models):
    preprocess(source=pair, out=tmp_path / "out", image_size=64, faces="speaking", workers=1)
    right = wrong = 0
    for _, left, frames in sides(ShardSet(tmp_path / "out")):
        is_first = np.array(frames) < 25 * SECONDS / 2
        right += int((left == is_first).sum())
        wrong += int((left != is_first).sum())
    assert right > 0.7 * 25 * SECONDS
    assert wrong < 0.1 * right
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    facts = report["clips"][0]["facts"]["speaking"]
    assert sum(facts["frames"].values()) + facts["frames_without_speaker"] == 25 * SECONDS


def test_one_face_is_the_default(tmp_path, pair, no_models):
    preprocess(source=pair, out=tmp_path / "out", image_size=64, workers=1)
    shards = ShardSet(tmp_path / "out")
    assert {clip.speaker for clip in shards.clips} == {"pair"}
    assert len({bool(left.all()) for _, left, _ in sides(shards)}) == 1
    with pytest.raises(ConfigError, match="faces=both"):
        preprocess(source=pair, out=tmp_path / "out", faces="both")


def bursts(rng, total):
    """Loudness in dB that comes and goes as syllables and pauses do."""
    slow = np.convolve(rng.standard_normal(total + 40), np.ones(9) / 3, "same")[20:-20]
    return np.clip(-35 + 12 * slow, -60, -12)


def test_the_mouth_that_moves_with_the_sound_speaks():
    rng = np.random.default_rng(0)
    loud, other = bursts(rng, 600), bursts(rng, 600)
    moving = lambda levels: 0.05 + 0.1 * (levels + 60) / 48 + 0.01 * rng.random(600)  # noqa: E731
    speaker, _, _ = choose_speaker(np.stack([moving(other), moving(loud)]), loud)
    assert (speaker == 1).mean() > 0.8
    assert (speaker == 0).mean() < 0.02
    swapped = (
        np.concatenate([moving(loud)[:300], moving(other)[300:]]),
        np.concatenate([moving(other)[:300], moving(loud)[300:]]),
    )
    speaker, _, _ = choose_speaker(np.stack(swapped), loud)
    assert (speaker[:250] == 0).mean() > 0.8
    assert (speaker[350:] == 1).mean() > 0.8


def test_nobody_speaks_where_nothing_agrees():
    rng = np.random.default_rng(1)
    loud = bursts(rng, 600)
    still = 0.02 + 0.002 * rng.random(600)
    assert (choose_speaker(np.stack([still, still]), loud)[0] == -1).all()
    quiet = np.full(600, -80.0)
    moving = 0.1 + 0.05 * rng.random(600)
    assert (choose_speaker(moving[None], quiet)[0] == -1).all()
    absent = np.full((1, 600), np.nan)
    assert (choose_speaker(absent, loud)[0] == -1).all()


@pytest.mark.slow
def test_four_faces_and_a_photograph(tmp_path, data_dir, monkeypatch):
    """x02: the man below right speaks until 10 s and rests after; the one below left is silent to 4 s."""
    monkeypatch.setenv("ANCHOR_MODELS", str(data_dir / "models"))
    clip = data_dir / "data" / "clips" / "x02_four_faces_720p.mp4"
    keys = {"source": clip, "detector": "yunet", "image_size": 96, "workers": 1}
    preprocess(**keys, out=tmp_path / "all", faces="all", on_no_match="keep")
    shards = ShardSet(tmp_path / "all")
    assert {shards.read_meta(c)["face"] for c in shards.clips} == {0, 1, 2, 3, 4}
    preprocess(**keys, out=tmp_path / "out", faces="speaking")
    shards = ShardSet(tmp_path / "out")
    assert len(shards.clips) >= 1
    for c in shards.clips:
        meta = shards.read_meta(c)
        x0, y0, x1, _ = np.median(meta["boxes"], axis=0)
        start, stop = meta["start_s"], meta["start_s"] + c.num_frames / 25
        assert (x0 + x1) / 2 < 1050, "the photograph of a man who does not move"
        if y0 > 300 and x0 > 700:
            assert stop < 11.0
        if y0 > 300 and x1 < 600:
            assert start > 3.6

"""Frames, mel steps and seconds agree with the file, at any rate, for every clip."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest

from anchor.preprocess import preprocess
from anchor.shards import ShardSet


def lengths_by_packets(path):
    """From the first sample on, in seconds: until the last picture ends, and until the last sample, by PyAV alone."""
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        pictures, rate, samples, start = [], audio.codec_context.sample_rate, 0, None
        for packet in container.demux(video, audio):
            for frame in packet.decode():
                if packet.stream.type == "video":
                    pictures.append(float(frame.time))
                else:
                    start = float(frame.time) if start is None else start
                    samples += frame.samples
    pictures.sort()
    return pictures[-1] + float(np.median(np.diff(pictures))) - start, samples / rate


def check_counts(path, facts):
    """Frames, mel steps and seconds agree with 25 fps, 80 steps per second and the file, to one frame."""
    picture_s, sound_s = lengths_by_packets(path)
    assert facts["sound_s"] == pytest.approx(sound_s, abs=0.04)
    assert facts["mel_steps"] == pytest.approx(80 * sound_s, abs=3.2)
    assert facts["first_frame"] + facts["picture_frames"] == pytest.approx(25 * picture_s, abs=1.01)
    assert 25 * facts["seconds"] == pytest.approx(25 * min(picture_s, sound_s), abs=1.01)


def check_segments(shards):
    for clip in shards.clips:
        assert len(shards.read_mel(clip)) == 1 + clip.num_frames * 16 // 5
        assert len(shards.read_audio(clip)) == clip.num_frames * 640


@pytest.mark.parametrize("fps", [24_000 / 1001, 30_000 / 1001, 30.0, 60.0])
def test_counts_agree_with_the_file_at_any_rate(tmp_path, flashing, no_models, fps):
    clip = flashing(tmp_path / "clip.mp4", fps=fps, seconds=2.0)
    preprocess(source=clip, out=tmp_path / "out", image_size=64, workers=1)
    facts = json.loads((tmp_path / "out" / "report.json").read_text())["clips"][0]["facts"]
    check_counts(clip, facts)
    assert facts["frames"] == pytest.approx(50, abs=1)
    check_segments(ShardSet(tmp_path / "out"))


def test_counts_agree_where_the_rate_varies(tmp_path, flashing, no_models):
    steady = flashing(tmp_path / "steady.mp4", fps=30, seconds=3.0)
    uneven = tmp_path / "uneven" / "clip.mkv"
    uneven.parent.mkdir()
    with av.open(str(steady)) as old, av.open(str(uneven), "w") as new:  # every 4th picture is missing: 22.5 fps
        video = new.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 160, 160, "yuv420p"
        sound = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux():
            if packet.stream.type == "audio" and packet.dts is not None and packet.pts >= 0:
                packet.stream = sound
                new.mux(packet)
            elif packet.stream.type == "video":
                for frame in packet.decode():
                    number = round(frame.time * 30)
                    if number % 4 != 3:
                        picture = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")
                        picture.pts, picture.time_base = number, Fraction(1, 30)
                        new.mux(video.encode(picture))
        new.mux(video.encode(None))
    preprocess(source=uneven, out=tmp_path / "out", image_size=64, workers=1)
    facts = json.loads((tmp_path / "out" / "report.json").read_text())["clips"][0]["facts"]
    check_counts(uneven, facts)
    check_segments(ShardSet(tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.parametrize(("detector", "every"), [("haar", 2), ("yunet", 1)])  # Haar takes three times as long
def test_every_shared_clip_is_accounted_for(tmp_path, data_dir, monkeypatch, detector, every):
    monkeypatch.setenv("ANCHOR_MODELS", str(data_dir / "models"))
    clips = tmp_path / "clips"
    clips.mkdir()
    for clip in sorted((data_dir / "data" / "clips").iterdir())[every - 1 :: every]:
        (clips / clip.name).symlink_to(clip)
    keys = {"detector": detector, "image_size": 96, "workers": 2, "offset": "measure", "on_no_match": "keep"}
    summary = preprocess(source=clips, out=tmp_path / "out", **keys)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(report["clips"]) == summary.kept + summary.refused == len(list(clips.iterdir()))
    assert [clip["source"] for clip in report["clips"] if not clip["is_kept"]] == []
    for clip in report["clips"]:
        check_counts(clips / clip["source"], clip["facts"])
        lost = 25 * clip["facts"]["seconds"] - clip["facts"]["frames"]
        assert lost < (170 if clip["source"].startswith("x01") else 6), clip["source"]
    check_segments(ShardSet(tmp_path / "out"))

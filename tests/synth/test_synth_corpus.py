import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from anchor.arguments import describe_arguments, parse_arguments
from anchor.errors import ConfigError
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip
from anchor.synth.corpus import render_corpus

RATE = 16_000


def read_back(path):
    """Frames with their times, and the sound as it is heard: float32 at 16 kHz whose sample 0 is at time 0."""
    frames, times, sound = [], [], np.zeros(RATE * 20, np.float32)
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            times.append(float(frame.pts * frame.time_base))
    with av.open(str(path)) as container:
        resampler, end = av.AudioResampler("flt", "mono", RATE), 0
        for frame in container.decode(audio=0):
            start_s = float(frame.pts * frame.time_base)
            for part in resampler.resample(frame):
                samples = part.to_ndarray().ravel()
                start = round(start_s * RATE)
                skip = max(0, -start)
                sound[start + skip : start + len(samples)] = samples[skip:]
                end = start + len(samples)
    return np.stack(frames), np.array(times), sound[:end]


def lag_ms(heard, expected):
    """By how much ``heard`` is late."""
    length = min(len(heard), len(expected))
    size = 2 * length
    product = np.fft.rfft(heard[:length], size) * np.conj(np.fft.rfft(expected[:length], size))
    lag = int(np.argmax(np.fft.irfft(product, size)))
    return (lag - size if lag > length else lag) / RATE * 1000


@pytest.mark.parametrize("offset_ms", [0, 160])
def test_files_hold_the_drawn_pictures_and_the_sound_in_time(tmp_path, offset_ms):
    render_corpus(out=tmp_path, speakers=1, clips=1, seconds=2, size=128, offset_ms=offset_ms, seed=3, workers=1)
    frames, times, heard = read_back(tmp_path / "spk000_00.mp4")
    clip = make_clip(draw_person(3, 0), 0, seconds=2, size=128, offset_ms=offset_ms)
    drawn = np.stack(list(clip.frames()))
    assert frames.shape == drawn.shape == (50, 128, 128, 3)
    assert np.allclose(times, np.arange(50) / 25, atol=1e-3)
    assert np.abs(frames.astype(int) - drawn).mean() < 6  # of 255: the codec
    spoken = clip.utterance.samples[round(clip.lead_s * RATE) :]  # what the pictures show
    assert abs(lag_ms(heard, spoken) - offset_ms) < 10
    truth = json.loads((tmp_path / "spk000_00.truth.json").read_text(encoding="utf-8"))
    assert truth["offset_ms"] == offset_ms
    assert np.allclose(truth["opening"], clip.mouth[:, 0], atol=1e-3)
    assert len(truth["boxes"]) == len(truth["landmarks"]) == 50


def test_other_frame_rates_keep_their_times(tmp_path):
    render_corpus(out=tmp_path, speakers=1, clips=1, seconds=1, size=96, fps=30, workers=1)
    with av.open(str(tmp_path / "spk000_00.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(30)
        assert sum(1 for _ in container.decode(video=0)) == 30


def test_finished_clips_are_kept_and_others_drawn_again(tmp_path, capsys):
    arguments = {"out": tmp_path, "clips": 1, "seconds": 0.4, "size": 96, "workers": 1}
    render_corpus(speakers=1, **arguments)
    first = (tmp_path / "spk000_00.mp4").stat().st_mtime_ns
    render_corpus(speakers=2, **arguments)
    assert (tmp_path / "spk000_00.mp4").stat().st_mtime_ns == first
    assert "(1 clips were there)" in capsys.readouterr().out
    (tmp_path / "spk001_00.truth.json").write_text("{")  # a clip that was not finished
    render_corpus(speakers=2, **arguments)
    json.loads((tmp_path / "spk001_00.truth.json").read_text(encoding="utf-8"))
    render_corpus(speakers=1, **{**arguments, "seed": 1})
    assert (tmp_path / "spk000_00.mp4").stat().st_mtime_ns != first
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json", ".mp4", ".mp4"]


def test_an_interrupt_keeps_finished_clips(tmp_path, monkeypatch, capsys):
    from anchor.synth import corpus

    real, calls = corpus.make_clip, []

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(corpus, "make_clip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        render_corpus(out=tmp_path, speakers=2, clips=1, seconds=0.4, size=96, workers=1)
    assert "1 clips are finished" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spk000_00.mp4", "spk000_00.truth.json"]


def test_several_processes_write_the_same_corpus_as_one(tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        render_corpus(out=tmp_path / name, speakers=2, clips=2, seconds=1, size=96, workers=workers)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ["speakers=0"],
        ["seconds=0"],
        ["size=97"],
        ["size=1024"],
        ["silence=1.5"],
        ["seconds=2", "missing_face_s=3"],
        ["language=klingon"],
        ["cut=perhaps"],
        ["seed=-1"],
        ["colour=red"],
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments):
    with pytest.raises(ConfigError):
        render_corpus(**parse_arguments(render_corpus, [f"out={tmp_path / 'new'}", *arguments]))
    assert not (tmp_path / "new").exists()


def test_an_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="out="):
        render_corpus(out=tmp_path / "out", workers=1)


def test_help_names_every_key():
    text = describe_arguments("synth", render_corpus)
    assert "held_out=" in text
    assert "missing_face_s=" in text


@pytest.mark.parametrize("size", [160, 256])
def test_haar_finds_the_faces_where_the_truth_has_them(size):
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    found, total = 0, 0
    for number in range(12):
        clip = make_clip(draw_person(7, number, held_out=number % 2 == 1), 0, seconds=1.2, size=size)
        boxes = clip.boxes()
        for frame, picture in enumerate(clip.frames()):
            if frame % 6 != 3:
                continue
            grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
            faces = cascade.detectMultiScale(grey, 1.1, 3, minSize=(size // 5, size // 5))
            x0, y0, x1, y1 = boxes[frame]
            found += any(
                abs(x + w / 2 - (x0 + x1) / 2) < 0.15 * w and abs(y + h / 2 - (y0 + y1) / 2) < 0.15 * h
                for x, y, w, h in faces
            )
            total += 1
    assert found >= 0.98 * total

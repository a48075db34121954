"""Small videos of one drawn face with beeps, and flashes of a patch beside its mouth at the same moments."""

import av
import numpy as np
import pytest

from anchor.media import write_video
from anchor.synth.cast import draw_person
from anchor.synth.clip import make_clip

EVENTS_S = (0.52, 1.0, 1.64, 2.2)
LENGTH_S = 0.12


@pytest.fixture(scope="session")
def face():
    """A picture with one face, and its box."""
    clip = make_clip(draw_person(0, 1), 0, seconds=0.2, size=160)
    return next(iter(clip.frames())), np.array(clip.truth()["boxes"][0])


@pytest.fixture(scope="session")
def flashing(face):
    """``flashing(path, fps=25, seconds=2.8, late_s=0)``: a video whose patch turns blue while it beeps."""
    picture, (x0, y0, x1, y1) = face
    size = y1 - y0
    left, top = int(x0 + 0.12 * (x1 - x0)), int(y0 + 0.6 * size)
    side = max(6, int(0.12 * size))

    def is_on(seconds):
        return any(start <= seconds < start + LENGTH_S for start in EVENTS_S)

    def write(path, fps=25.0, seconds=2.8, late_s=0.0):
        def frames():
            for i in range(round((seconds - late_s) * fps)):
                frame = picture.copy()
                on = is_on((i + 0.5) / fps + late_s)
                frame[top : top + side, left : left + side] = (0, 0, 255) if on else (200, 60, 60)
                yield frame

        times = np.arange(round(seconds * 16_000)) / 16_000
        noise = 0.3 * np.random.default_rng(0).standard_normal(len(times))
        beeps = np.zeros(len(times))
        for start in EVENTS_S:
            inside = (times >= start) & (times < start + LENGTH_S)
            beeps[inside] = noise[inside]
        first = path.with_name("on_time.mp4") if late_s else path
        write_video(first, frames(), fps=fps, audio=beeps.astype(np.float32))
        if late_s:
            _delay_picture(first, path, late_s)
            first.unlink()
        return path

    return write


def _delay_picture(source, target, seconds):
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                packet.pts += round(seconds / packet.time_base)
                packet.dts += round(seconds / packet.time_base)
            packet.stream = streams[packet.stream.index]
            new.mux(packet)


@pytest.fixture
def no_models(monkeypatch, tmp_path_factory):
    """Haar only, as on a machine without models."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("ANCHOR_MODELS", raising=False)


@pytest.fixture
def in_this_process(monkeypatch):
    """Clips are processed here and one by one: a worker process would know nothing of a test's stand-ins."""

    def run_all(function, tasks, *_):
        for number, task in enumerate(tasks):
            yield number, function(task)

    monkeypatch.setattr("anchor.preprocess.run.run_all", run_all)
    monkeypatch.setattr("anchor.preprocess.material.run.run_all", run_all)

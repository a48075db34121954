"""How much of training's time goes by waiting for data, and when that is worth a word."""

import json

import pytest
from small_runs import Data, fit

from anchor.errors import ConfigError
from lightning_modules import SyncNetModule
from lightning_modules.callbacks import LoaderWatch, ProgressLines
from lightning_modules.callbacks.loader import advise


class Clock:
    """In the place of ``time``: only what is said to take time takes it, however busy the machine is."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in ("datamodules.loader", "lightning_modules.callbacks.loader"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


class Slow:
    """Clips that take their time."""

    def __init__(self, clips, clock):
        self.inner, self.clock, self.clips = clips, clock, clips.clips

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def read_frames(self, clip, frames):
        self.clock.sleep(0.1)
        return self.inner.read_frames(clip, frames)


class Thinking(SyncNetModule):
    clock: Clock

    def training_step(self, batch, batch_idx):
        self.clock.sleep(0.2)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.clock.sleep(5.0)
        return super().validation_step(batch, batch_idx)


def thinking(net, clock):
    module = Thinking(net=net)
    module.clock = clock
    return module


def test_a_starving_training_is_told_once_what_to_change(numbered_clips, small_expert, tmp_path, capsys, clock):
    watch = LoaderWatch(every=3, least_s=0.2, record=str(tmp_path / "events.jsonl"))
    data = Data(Slow(numbered_clips(), clock), cache_mb=0, drawing=False)
    trainer = fit(thinking(small_expert, clock), data, steps=12, callbacks=[watch, ProgressLines(every_s=0.0)])
    assert 0.5 < watch.share < 1
    assert float(trainer.callback_metrics["train/data_wait"]) == pytest.approx(watch.share)
    said = capsys.readouterr().err
    assert said.count("training waits for its data") == 1
    assert " GiB  data " in said
    (event,) = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert event["kind"] == "starving"
    assert event["share"] > 0.5


def test_a_fed_training_hears_nothing_and_a_validation_is_no_waiting(numbered_clips, small_expert, capsys, clock):
    watch = LoaderWatch(every=2, least_s=0.0)
    data = Data(Slow(numbered_clips(), Clock()), drawing=False)  # on a clock of its own: to training it takes no time
    fit(thinking(small_expert, clock), data, steps=8, val_check_interval=4, callbacks=[watch])
    assert watch.share == 0
    assert clock.now == pytest.approx(8 * 0.2 + 2 * 5.0 * 1)
    assert "waits for its data" not in capsys.readouterr().err


def test_the_advice_fits_the_machine(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert "datamodule.num_workers=4 (now 0; 16 cores are here)" in advise(0, "cuda")
    assert "datamodule.num_workers=8 (now 4" in advise(4, "mlu")
    assert "all 16 cores load already" in advise(15, "cuda")
    assert "share 16 cores" in advise(2, "cpu")


def test_what_cannot_be_is_refused():
    for options in ({"every": 0}, {"warn_share": 1.5}, {"warn_share": "x"}):
        with pytest.raises(ConfigError, match=r"callbacks\.loader"):
            LoaderWatch(**options)

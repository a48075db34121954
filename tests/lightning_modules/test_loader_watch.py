"""How much of training's time goes by waiting for data, and when that is worth a word."""

import json
import time

import pytest
from small_runs import Data, fit

from anchor.errors import ConfigError
from lightning_modules import SyncNetModule
from lightning_modules.callbacks import LoaderWatch, ProgressLines
from lightning_modules.callbacks.loader import advise


class Slow:
    """Clips that take their time."""

    def __init__(self, clips, seconds):
        self.inner, self.seconds, self.clips = clips, seconds, clips.clips

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def read_frames(self, clip, frames):
        time.sleep(self.seconds)
        return self.inner.read_frames(clip, frames)


class Thinking(SyncNetModule):
    def training_step(self, batch, batch_idx):
        time.sleep(0.2)
        return super().training_step(batch, batch_idx)


def test_a_starving_training_is_told_once_what_to_change(numbered_clips, small_expert, tmp_path, capsys):
    watch = LoaderWatch(every=3, least_s=0.2, record=str(tmp_path / "events.jsonl"))
    data = Data(Slow(numbered_clips(), 0.1), cache_mb=0, drawing=False)
    trainer = fit(SyncNetModule(net=small_expert), data, steps=12, callbacks=[watch, ProgressLines(every_s=0.0)])
    assert watch.share > 0.5
    assert float(trainer.callback_metrics["train/data_wait"]) == pytest.approx(watch.share)
    said = capsys.readouterr().err
    assert said.count("training waits for its data") == 1
    assert " GiB  data " in said
    (event,) = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert event["kind"] == "starving"
    assert event["share"] > 0.5


def test_a_fed_training_hears_nothing_and_a_validation_is_no_waiting(numbered_clips, small_expert, capsys):
    watch = LoaderWatch(every=2, least_s=0.0)
    data = Data(numbered_clips(), drawing=False)
    fit(Thinking(net=small_expert), data, steps=8, val_check_interval=4, callbacks=[watch])
    assert watch.share < 0.3
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

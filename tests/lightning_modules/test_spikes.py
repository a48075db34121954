"""What counts as a spike, and that a run says it once and goes on."""

import json
import random

import pytest
from small_runs import Data, fit

from anchor.errors import ConfigError
from lightning_modules import QualityModule, SyncNetModule
from lightning_modules.callbacks import LossSpikes
from lightning_modules.callbacks.spikes import find_spike

PAST = [1.0 + random.Random(i).gauss(0, 0.1) for i in range(200)]


def test_a_value_is_measured_by_a_median_that_spikes_do_not_move():
    median, above = find_spike(3.0, PAST, 10, 1.5)
    assert median == pytest.approx(1.0, abs=0.03)
    assert above == pytest.approx(20, rel=0.2)  # (3 - 1) / 0.1
    assert find_spike(3.0, PAST + [50.0] * 60, 10, 1.5) is not None
    assert find_spike(1.4, PAST, 10, 1.5) is None
    assert find_spike(3.0, PAST[:29], 10, 1.5) is None
    assert find_spike(float("nan"), PAST, 10, 1.5) is None
    assert find_spike(1.2, [1.0] * 200, 10, 1.5) is None  # far by deviations, near by the eye
    assert find_spike(-2.0, PAST, 10, 1.5) is None  # down is no spike
    assert find_spike(9.0, [-1.0 + value / 1e3 for value in PAST], 10, 1.5) is not None


class Jumping(SyncNetModule):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (100.0 if batch_idx in (40, 41, 45) else 1.0)


def test_a_spike_is_said_once_with_its_step_and_training_goes_on(numbered_clips, small_expert, tmp_path, capsys):
    module, spikes = Jumping(net=small_expert), LossSpikes(every=4, record=str(tmp_path / "events.jsonl"))
    fit(module, Data(numbered_clips(lengths=(120, 120, 36))), steps=48, callbacks=[spikes])
    said = capsys.readouterr().err
    assert "batch 41: loss " in said
    assert "batch 42" not in said
    assert "batch 46" in said  # it had come down between
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(event["kind"], event["step"]) for event in events] == [("spike", 41), ("spike", 46)]
    other = LossSpikes()
    other.load_state_dict(spikes.state_dict())
    assert other.past == spikes.past
    assert other.spikes == 2


def test_a_stage_by_hand_is_watched_by_what_it_shows(numbered_clips, small_generator):
    from anchor.models import PatchDiscriminator

    spikes = LossSpikes(every=2)
    module = QualityModule(net=small_generator, discriminator=PatchDiscriminator(widths=(4, 8)))
    fit(module, Data(numbered_clips()), steps=4, callbacks=[spikes])
    assert {key: len(values) for key, values in spikes.past.items()} == {"train/d_loss": 4, "train/l1": 4}


def test_what_cannot_be_is_refused():
    for options in ({"deviations": 0}, {"window": 5}, {"every": 0}, {"at_least": "x"}):
        with pytest.raises(ConfigError, match=r"callbacks\.spikes"):
            LossSpikes(**options)

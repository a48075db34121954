"""A loss or a gradient that is no number: nobody learns from it, the windows are named, and too many end the run."""

import json

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from small_runs import Data, fit

from anchor.errors import ConfigError, TrainingError
from anchor.models import PatchDiscriminator
from lightning_modules import QualityModule, SyncNetModule
from lightning_modules.callbacks import FiniteLoss, WeightAverage
from lightning_modules.callbacks.finite import describe_batches, find_torn, join


class Torn:
    """Clips whose speech is nan in one of them."""

    def __init__(self, clips, key):
        self.inner, self.key, self.clips = clips, key, clips.clips

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def read_mel(self, clip):
        mel = self.inner.read_mel(clip).copy()
        if clip.key == self.key:
            mel[:] = float("nan")
        return mel


class Spoiled(SyncNetModule):
    """Whose loss, or whose gradient alone, is no number in some batches."""

    bad, kind = (), "loss"

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if batch_idx not in self.bad:
            return loss
        if self.kind == "loss":
            return loss + torch.tensor(torch.inf)  # its own gradient would be as ever
        return loss + torch.sqrt(0 * self.net.log_scale)  # 0, with a slope without end


class History(L.pytorch.callbacks.Callback):
    """Everything that a step may change, after each."""

    def __init__(self, average=None):
        self.states, self.average, self.counts = [], average, []

    def on_train_batch_end(self, trainer, module, *_):
        floats = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
        states = [floats, self.average.average if self.average else {}]
        for optimizer in trainer.optimizers:
            for number, held in enumerate(optimizer.state_dict()["state"].values()):
                states.append({f"{number}.{name}": value for name, value in held.items()})
        self.states.append([{name: value.clone() for name, value in state.items()} for state in states])


def same(one, other):
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in zip(one, other, strict=True)
    )


def spoiled(net, bad, kind="loss"):
    module = Spoiled(net=net, warmup_steps=0)
    module.bad, module.kind = bad, kind
    return module


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_step_that_is_no_number_changes_nothing_and_the_next_one_is_taken(
    kind, numbered_clips, small_expert, tmp_path, capsys
):
    module, average = spoiled(small_expert, {2}, kind), WeightAverage(decay=0.5)
    history, finite = History(average), FiniteLoss(record=str(tmp_path / "events.jsonl"))
    trainer = fit(module, Data(numbered_clips()), steps=5, callbacks=[finite, average, history])
    first, before, skipped, after, _ = history.states
    assert not same(first, before)
    assert same(before, skipped)
    assert not same(skipped, after)
    assert all(value.isfinite().all() for state in history.states[-1] for value in state.values())
    assert (finite.skipped, list(finite.recent), average.updates, trainer.global_step) == (1, [3], 4, 5)
    (event,) = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (event["kind"], event["step"], event["what"]) == ("skipped", 3, "loss" if kind == "loss" else "gradients")
    assert len(event["windows"]) == 4
    said = capsys.readouterr().err
    assert said.count("No rank takes this step.") == 1
    assert "batch 3: " in said


def test_gathered_batches_go_together(numbered_clips, small_expert):
    module, average = spoiled(small_expert, {2}), WeightAverage(decay=0.5)
    history, finite = History(average), FiniteLoss()
    fit(module, Data(numbered_clips()), steps=3, accumulate_grad_batches=2, callbacks=[finite, average, history])
    assert same(history.states[1], history.states[3])
    assert not same(history.states[3], history.states[5])
    assert (finite.skipped, average.updates) == (1, 2)


def test_windows_that_hold_what_is_no_number_are_named_and_too_many_end_the_run(numbered_clips, small_expert, tmp_path):
    source = numbered_clips()
    key = next(clip.key for clip in source.clips if clip.split == "train")
    module = SyncNetModule(net=small_expert)
    before = {name: value.clone() for name, value in module.net.state_dict().items()}
    data = Data(Torn(source, key), batch_size=64, drawing=False, windows_per_clip=2)
    finite = FiniteLoss(max_skipped=2, within=10, record=str(tmp_path / "events.jsonl"))
    with pytest.raises(
        TrainingError, match=rf"the speech of \d+ of \d+ windows is nan.*{key} at .*makes 3 steps within"
    ):
        fit(module, data, steps=9, callbacks=[finite])
    for name, value in before.items():
        if value.is_floating_point():  # the statistics of BatchNorm, too
            assert torch.equal(value, module.net.state_dict()[name]), name
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert {clip for line in lines for clip, _ in json.loads(line)["windows"]} == {key}


def test_few_among_many_are_no_end(numbered_clips, small_expert):
    finite = FiniteLoss(max_skipped=1, within=3)
    fit(spoiled(small_expert, {0, 3, 6}), Data(numbered_clips()), steps=9, callbacks=[finite])
    assert finite.skipped == 3
    with pytest.raises(TrainingError, match=r"sound .* It ends the run"):
        fit(spoiled(small_expert, {1}), Data(numbered_clips()), callbacks=[FiniteLoss(max_skipped=0)])


def test_both_networks_of_the_quality_stage_stay_as_they_are(numbered_clips, small_generator):
    discriminator = PatchDiscriminator(widths=(4, 8))
    module = QualityModule(net=small_generator, discriminator=discriminator)
    with torch.no_grad():
        next(module.net.parameters()).fill_(float("nan"))
    kept = {name: value.clone() for name, value in module.discriminator.state_dict().items()}
    finite = FiniteLoss(max_skipped=1)
    with pytest.raises(TrainingError, match="the loss is nan or infinite, and the windows are sound"):
        fit(module, Data(numbered_clips()), callbacks=[finite])
    assert list(finite.recent) == [1, 2]  # one a batch, whose two optimizers step
    for name, value in kept.items():
        assert torch.equal(value, module.discriminator.state_dict()[name]), name


class Scaled(MixedPrecision):
    """16-mixed as it scales losses and skips steps, on a CPU in float32."""

    def __init__(self):
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**10))

    def autocast_context_manager(self):
        return torch.autocast("cpu", enabled=False)


@pytest.mark.parametrize(("kind", "counted"), [("loss", 1), ("gradient", 0)])
def test_an_overflow_that_the_loss_scale_skips_is_not_counted(kind, counted, numbered_clips, small_expert):
    finite, history = FiniteLoss(), History()
    module = spoiled(small_expert, {2}, kind)
    fit(module, Data(numbered_clips()), steps=4, plugins=[Scaled()], callbacks=[finite, history])
    assert finite.skipped == counted
    before, skipped, after = history.states[1:]
    if counted:  # the running statistics of a step that only overflowed are sound
        assert same(before, skipped)
    weights = [[{k: v for k, v in part.items() if "running" not in k} for part in state] for state in (before, skipped)]
    assert same(*weights)
    assert not same(skipped, after)


def test_counts_survive_a_checkpoint():
    one, other = FiniteLoss(max_skipped=2), FiniteLoss(max_skipped=2)
    one.skipped = 7
    one.recent.extend([3, 90, 91])
    other.load_state_dict(one.state_dict())
    assert (other.skipped, list(other.recent)) == (7, [3, 90, 91])


@pytest.mark.parametrize("options", [{"max_skipped": -1}, {"max_skipped": True}, {"within": 0}, {"within": 1.5}])
def test_what_is_no_count_is_refused(options):
    with pytest.raises(ConfigError, match=f"callbacks.finite.{next(iter(options))}="):
        FiniteLoss(**options)


def test_many_windows_are_counted_and_the_cause_is_named_first():
    batch = {"clip_B": torch.arange(9), "mel_B1MS": torch.full((9, 1, 2, 2), torch.nan)}
    batch["mel_B1MS"][4:] = 0.0
    assert find_torn(batch).tolist() == [True] * 4 + [False] * 5
    windows = [(f"c{i}", i) for i in range(9)]
    assert "9 of 18 windows" in describe_batches(3, "data", windows, 18)
    assert "and 5 more" in describe_batches(3, "data", windows, 18)
    found = [("loss", windows[:2], 9), ("data", windows[2:3], 9), ("gradients", windows, 9)]
    assert join(found) == ("data", windows[2:3], 27)

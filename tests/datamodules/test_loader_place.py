"""Where a loader stands goes into the checkpoint, and training goes on at that very window."""

import json
import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import nn

from anchor.errors import CheckpointError, ConfigError
from datamodules.base import WindowDataModule
from datamodules.record import KeyRecord


class Data(WindowDataModule):
    """The shared datamodule over a stand-in source."""

    def __init__(self, source, rank=0, world_size=1, **options):
        super().__init__(**{"image_size": 32, "batch_size": 12, "windows_per_clip": 3, **options})
        self.stand_in, self.place = source, (rank, world_size)

    def open_source(self):
        return self.stand_in

    def _rank_and_world(self):
        return self.place


class Weigher(L.LightningModule):
    """Learns next to nothing, quickly."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def training_step(self, batch, batch_idx):
        return (self.scale * batch["weight_B"]).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/count", float(len(batch["frame_B"])), batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-6)


def consumed(batch):
    rows = zip(batch["clip_B"].tolist(), batch["frame_B"].tolist(), batch["weight_B"].tolist(), strict=True)
    return [(clip, frame) for clip, frame, weight in rows if weight > 0]


def epochs(numbered_clips, count, **options):
    loader = Data(numbered_clips(), **options).train_dataloader()
    return [[consumed(batch) for batch in loader] for _ in range(count)]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("done", [1, 6, 7, 9])  # 7 batches are an epoch
def test_any_number_of_ranks_goes_on_where_another_stopped(numbered_clips, done, world_size):
    first, second = epochs(numbered_clips, 2)
    whole = first + second
    loader = Data(numbered_clips()).train_dataloader()
    batches = (batch for _ in range(2) for batch in loader)
    before = [consumed(next(batches)) for _ in range(done)]
    state = json.loads(json.dumps(loader.state_dict()))
    shares = []
    for rank in range(world_size):
        own = Data(numbered_clips(), rank, world_size).train_dataloader()
        own.load_state_dict(state)
        shares.append([consumed(batch) for batch in own])
    after = [[key for part in parts for key in part] for parts in zip(*shares, strict=True)]
    assert before + after == whole[: done + len(after)]
    assert len(after) == len(first) - done % len(first)  # the rest of the epoch


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("prefetch", [1, 4])
def test_workers_and_prefetch_neither_lose_nor_move_a_window(numbered_clips, workers, prefetch):
    loader = Data(numbered_clips(), num_workers=workers, prefetch=prefetch).train_dataloader()
    batches = iter(loader)
    part = [consumed(next(batches)) for _ in range(3)]
    state = loader.state_dict()
    del batches
    again = Data(numbered_clips(), num_workers=1).train_dataloader()
    again.load_state_dict(state)
    (whole,) = epochs(numbered_clips, 1)
    assert part + [consumed(batch) for batch in again] == whole


def test_the_state_is_small_and_equal_on_all_ranks(numbered_clips):
    states = []
    for rank in range(4):
        loader = Data(numbered_clips(), rank, 4).train_dataloader()
        next(iter(loader))
        states.append(json.dumps(loader.state_dict()))
    assert len(set(states)) == 1
    assert len(states[0]) < 300


def test_equal_lengths_on_all_ranks_without_reading_a_clip(numbered_clips):
    source = numbered_clips()
    loaders = [Data(source, rank, 4) for rank in range(4)]
    assert len({(len(data.train_dataloader()), len(data.val_dataloader())) for data in loaders}) == 1
    assert source.reads == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "made with seed=0, and this run has 1"),
        ({"windows_per_clip": 2}, "made with datamodule.windows_per_clip=3, and this run has 2"),
    ],
)
def test_another_order_is_refused(numbered_clips, change, words):
    state = Data(numbered_clips()).train_dataloader().state_dict()
    with pytest.raises(CheckpointError, match=words):
        Data(numbered_clips(), **change).train_dataloader().load_state_dict(state)


def test_other_shards_are_refused_or_begin_the_next_epoch_if_asked(numbered_clips):
    loader = Data(numbered_clips()).train_dataloader()
    next(iter(loader))
    state = loader.state_dict()
    longer = (30, 40, 21, 36)
    with pytest.raises(CheckpointError, match=r"78 windows an epoch, and this run has 79.*accept_other_data=true"):
        Data(numbered_clips(lengths=longer)).train_dataloader().load_state_dict(state)
    loader = Data(numbered_clips(lengths=longer), accept_other_data=True).train_dataloader()
    loader.load_state_dict(state)
    assert (loader.sampler.epoch, loader.sampler.given) == (1, 0)


def fit(numbered_clips, tmp_path, steps=-1, resume=None, every=1, module=None, more=(), **trainer):
    """The keys of every step, as the record has them."""
    record = KeyRecord(str(tmp_path / "keys"))
    save = L.pytorch.callbacks.ModelCheckpoint(
        tmp_path, filename="{step}", every_n_train_steps=every, save_top_k=-1, auto_insert_metric_name=False
    )
    options = {"max_steps": steps, "max_epochs": -1, "val_check_interval": 2, "check_val_every_n_epoch": None}
    L.Trainer(
        accelerator="cpu", logger=False, callbacks=[record, save, *more], num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, **{**options, **trainer},
    ).fit(module or Weigher(), datamodule=Data(numbered_clips()), ckpt_path=resume, weights_only=True)  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "keys" / "rank-0.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["keys"] for line in lines]


@pytest.mark.parametrize("stop", [1, 6, 7, 8, 14])  # 7 steps are an epoch
def test_lightning_goes_on_at_the_very_window_also_at_an_epochs_end(numbered_clips, tmp_path, stop):
    whole = fit(numbered_clips, tmp_path / "whole", 17)
    assert len(whole) == 17
    fit(numbered_clips, tmp_path / "parts", stop + 2)  # went on after the checkpoint that is used
    parts = fit(numbered_clips, tmp_path / "parts", 17, resume=tmp_path / "parts" / f"{stop}.ckpt")
    assert parts == whole
    for epoch in (whole[:7], whole[7:14]):
        keys = [key for step in epoch for key in step]
        assert len(keys) == len(set(keys)) == 78


def test_limited_epochs_go_on_through_the_data(numbered_clips, tmp_path):
    whole = fit(numbered_clips, tmp_path / "whole", 14)
    assert fit(numbered_clips, tmp_path / "limited", 14, limit_train_batches=3) == whole
    assert fit(
        numbered_clips, tmp_path / "limited", 16, limit_train_batches=3, resume=tmp_path / "limited" / "5.ckpt"
    )[:14] == whole  # fmt: skip


@pytest.mark.parametrize("reload", [0, 1])
def test_a_finished_epoch_is_followed_by_the_next_also_without_max_steps(numbered_clips, tmp_path, reload):
    """Lightning does not give a loader its state back there, and makes loaders anew where it is asked to."""
    options = {"max_steps": -1, "reload_dataloaders_every_n_epochs": reload, "val_check_interval": 1.0}
    options["check_val_every_n_epoch"] = 1
    whole = fit(numbered_clips, tmp_path / "whole", **{**options, "max_epochs": 3})
    assert len(whole) == 21
    assert whole[:7] != whole[7:14]
    fit(numbered_clips, tmp_path / "parts", **{**options, "max_epochs": 1})
    resume = tmp_path / "parts" / "7.ckpt"
    assert fit(numbered_clips, tmp_path / "parts", resume=resume, **{**options, "max_epochs": 3}) == whole


class Stumbler(Weigher):
    """Fails once, in the middle of a step."""

    def training_step(self, batch, batch_idx):
        if self.global_step == 3:
            raise RuntimeError("the card fell off")
        return super().training_step(batch, batch_idx)


def test_a_checkpoint_made_in_a_fall_does_not_count_the_batch_that_was_not_learnt(numbered_clips, tmp_path):
    whole = fit(numbered_clips, tmp_path / "whole", 12)
    fallen = L.pytorch.callbacks.OnExceptionCheckpoint(tmp_path / "parts", filename="fallen")
    with pytest.raises(RuntimeError, match="the card fell off"):
        fit(numbered_clips, tmp_path / "parts", 12, module=Stumbler(), more=[fallen])
    assert fit(numbered_clips, tmp_path / "parts", 12, resume=tmp_path / "parts" / "fallen.ckpt") == whole


def test_short_passes_leave_no_gradient_behind(numbered_clips, tmp_path):
    limited = {"limit_train_batches": 4, "accumulate_grad_batches": 2}
    keys = fit(numbered_clips, tmp_path / "limited", 8, every=2, **limited)
    assert len(keys) == 16  # two batches for every step, across the epoch's end
    assert keys[:14] == fit(numbered_clips, tmp_path / "whole", 14)


FALLS = """
from stand_ins import NumberedClips
from test_loader_place import Data

if __name__ == "__main__":
    batches = iter(Data(NumberedClips(), num_workers=1).train_dataloader())
    next(batches)
    raise SystemExit("fell")
"""


def test_a_process_that_falls_with_its_loader_open_ends(tmp_path):
    (tmp_path / "falls.py").write_text(FALLS)
    here = Path(__file__).parent
    paths = os.pathsep.join(map(str, [here, here.parent / "support", here.parents[1]]))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(tmp_path / "falls.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.endswith("fell\n")


def test_another_seed_is_another_order(numbered_clips):
    assert epochs(numbered_clips, 1, seed=0) != epochs(numbered_clips, 1, seed=1)


def test_other_data_of_equal_size_are_refused(numbered_clips):
    source, other = numbered_clips(), numbered_clips()
    source.identity, other.identity = "one", "two"
    state = Data(source).train_dataloader().state_dict()
    with pytest.raises(CheckpointError, match="made with other shards"):
        Data(other).train_dataloader().load_state_dict(state)
    with pytest.raises(CheckpointError, match="another order of windows"):
        Data(source).train_dataloader().load_state_dict({**state, "plan": 1})


@pytest.mark.parametrize(
    "options",
    [{"val_batch_size": -3}, {"val_windows_per_clip": 0}, {"negatives_per_window": -1}, {"seed": -1}, {"prefetch": 0},
     {"near": 0, "far": 0, "foreign": 0}, {"near": -1}, {"mirror": 5}, {"max_damaged": "a"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused_in_a_sentence(numbered_clips, options):
    with pytest.raises(ConfigError, match=f"datamodule.{next(iter(options))}"):
        Data(numbered_clips(), **options)

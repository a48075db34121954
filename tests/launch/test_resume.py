"""A training that was broken off and gone on with is, to the last bit, the one that was not."""

import hashlib
import json
import signal

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from saved_networks import save_network

import launch.worker as worker
from launch import stops
from lightning_modules.callbacks.place import batches_done

SMALL = [
    "datamodule.batch_size=12", "datamodule.windows_per_clip=1", "trainer.val_check_interval=4",
    "callbacks.last.every_n_train_steps=3", "model.image_size=32", "model.expert.image_size=32", "model.expert.width=2",
    "model.expert.embedding_size=8", "model.generator.widths=[4,6,8]", "model.generator.strides=[2,2,2]",
    "model.generator.speech_width=2", "model.generator.embedding_size=8", "model.discriminator.widths=[4,8]",
]  # fmt: skip
EPOCH = 5  # batches: two clips of 26 windows, 12 in a batch


class BrokenOffError(Exception):
    pass


class BreakOff(Callback):
    """Raise (as a crash does) or receive a signal at a place of the training."""

    def __init__(self, where, batches, stop=None):
        self.where, self.batches, self.stop, self.count = where, batches, stop, 0

    def _meet(self, trainer, where):
        if where != self.where or batches_done(trainer) != self.batches:
            return
        if self.stop is None:
            raise BrokenOffError
        stops.STOP.receive(self.stop)

    def on_train_batch_start(self, trainer, *_):
        self._meet(trainer, "start")

    def on_before_zero_grad(self, trainer, *_):
        self._meet(trainer, "step")

    def on_train_batch_end(self, trainer, *_):
        self._meet(trainer, "end")

    def on_validation_batch_start(self, trainer, *_):
        self._meet(trainer, "validation")

    def on_validation_end(self, trainer, *_):
        self._meet(trainer, "validated")

    def on_train_epoch_end(self, trainer, *_):
        self._meet(trainer, "epoch")


@pytest.fixture
def train(composed, tmp_path, monkeypatch, small_generator, small_expert):
    """Run an experiment, perhaps up to where it is broken off; returns the status or the result."""
    import launch.build

    build = launch.build.build
    torch.use_deterministic_algorithms(True)
    generator = save_network(tmp_path / "small-generator.ckpt", small_generator)
    expert = save_network(tmp_path / "small-expert.ckpt", small_expert)

    def run(name, experiment, *words, break_off=None):
        monkeypatch.setattr(stops, "STOP", stops.Stop())
        for module in ("consensus", "checkpoints.last", "trainer", "worker"):
            monkeypatch.setattr(f"launch.{module}.STOP", stops.STOP)

        def build_breaking(*arguments):
            built = build(*arguments)
            if break_off is not None:
                built.trainer.callbacks.append(break_off)  # after those that save
            return built

        monkeypatch.setattr(launch.build, "build", build_breaking)
        run_dir = tmp_path / name
        run_dir.mkdir(exist_ok=True)
        paths = [] if experiment == "syncnet" else [f"module.expert={expert}"]
        paths += [f"module.base={generator}"] if experiment in ("finetune", "quality") else []
        config = composed(experiment, *SMALL, *paths, *words, run_dir=run_dir)
        (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
        try:
            return worker.run(run_dir / "config.yaml")
        except BrokenOffError:
            return "broken off"
        except stops.StoppedError as stop:
            run.last_words = str(stop)
            return stop.code

    yield run
    torch.use_deterministic_algorithms(False)


def digest(value, whole=None):
    """SHA-256 of all tensors and numbers in ``value``."""
    whole = whole or hashlib.sha256()
    if isinstance(value, torch.Tensor):
        whole.update(f"{value.dtype}{tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            whole.update(str(key).encode())
            digest(value[key], whole)
    elif isinstance(value, (list, tuple)):
        for item in value:
            digest(item, whole)
    else:
        whole.update(repr(value).encode())
    return whole.hexdigest()


def outcome(run_dir):
    """All that must be the same: weights, optimizer, schedules, random states, windows, validations, the best one."""
    last = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    validations = [
        {k: v for k, v in line.items() if k != "seconds"}
        for line in lines
        if any(key.startswith("val/") for key in line)
    ]
    best = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)
    parts = {key: digest(last[key]) for key in ("state_dict", "optimizer_states", "lr_schedulers")}
    own = {key: digest(last["anchor"][key]) for key in ("random", "consumed_windows", "consumed_keys_digest")}
    more = digest(last.get("ema_state_dict")), last["global_step"], best["global_step"], digest(best["state_dict"])
    return parts, own, more, validations


PLACES = [
    ("start", 3), ("step", 4), ("end", 4), ("validation", 4), ("validated", 4), ("end", 5), ("epoch", 5), ("start", 5),
    ("start", 7), ("validation", 12),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 3])
def test_a_crash_anywhere_changes_nothing_of_the_outcome(train, tmp_path, every):
    words = ["generator", "trainer.max_steps=12", f"callbacks.last.every_n_train_steps={every}"]
    result = train("whole", *words)
    whole = outcome(tmp_path / "whole")
    assert [line["step"] for line in whole[-1]] == [4, 8, 12]
    for where, batches in PLACES:
        name = f"{where}-{batches}"
        assert train(name, *words, break_off=BreakOff(where, batches)) == "broken off", name
        again = train(name, *words)
        assert outcome(tmp_path / name) == whole, name
        assert again["consumed_keys_digest"] == result["consumed_keys_digest"], name


STAGES = ["syncnet", "generator", "finetune", "quality"]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_stops_and_goes_on_exactly_with_averages_accumulation_and_half_precision(train, tmp_path, stage):
    words = [
        "trainer.max_steps=7",
        "trainer.accumulate_grad_batches=2",
        "accelerator.precision=bf16-mixed",
        "callbacks=ema",
    ]
    train("whole", stage, *words)
    whole = outcome(tmp_path / "whole")
    for where, batches in [("start", 3), ("validation", 4), ("end", 5), ("start", 7)]:
        name = f"{where}-{batches}"
        stop = BreakOff(where, batches, signal.SIGTERM)
        assert train(name, stage, *words, break_off=stop) == 143, name
        train(name, stage, *words)
        assert outcome(tmp_path / name) == whole, name


def test_a_stop_redoes_no_step_and_says_where_it_saved(train, tmp_path, capsys):
    words = ["syncnet", "trainer.max_steps=12"]
    assert train("run", *words, break_off=BreakOff("end", 7, signal.SIGUSR1)) == 75
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 7
    assert last["anchor"]["consumed_windows"] == 52 + 24
    assert train("run", *words, break_off=BreakOff("validation", 8, signal.SIGINT)) == 75
    assert train("run", *words)["steps"] == 12


def test_a_run_that_began_from_a_path_is_stopped_and_ends_by_the_same_command(train, tmp_path, capsys):
    train("first", "syncnet", "trainer.max_steps=3")
    words = ["syncnet", "trainer.max_steps=7", f"resume={tmp_path / 'first' / 'checkpoints' / 'last.ckpt'}"]
    assert train("run", *words, break_off=BreakOff("end", 5, signal.SIGTERM)) == 143
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    begun = torch.load(last, weights_only=True)["anchor"]["origin"]
    assert begun[0] == words[2].partition("=")[2]
    capsys.readouterr()
    assert train("run", *words)["steps"] == 7
    assert f"going on from {last}" in capsys.readouterr().err
    assert torch.load(last, weights_only=True)["anchor"]["origin"] == begun


@pytest.mark.parametrize(
    ("resume", "says"),
    [
        ("auto", "; the same command goes on"),
        ("none", "; the same command with resume=auto goes on, and with resume=none it begins anew"),
    ],
)
def test_a_stop_says_that_resume_none_does_not_go_on(train, resume, says):
    words = ["syncnet", "trainer.max_steps=3", f"resume={resume}"]
    assert train("run", *words, break_off=BreakOff("end", 2, signal.SIGTERM)) == 143
    assert train.last_words.endswith(says)


def test_the_digest_is_that_of_the_windows_whatever_the_order(train):
    first = train("first", "syncnet", "trainer.max_steps=5")
    other = train("other", "syncnet", "trainer.max_steps=5", "seed=3")
    more = train("more", "syncnet", "trainer.max_steps=6")
    assert first["consumed_windows"] == other["consumed_windows"] == 52
    assert first["consumed_keys_digest"] == other["consumed_keys_digest"] != more["consumed_keys_digest"]

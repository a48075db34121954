"""What an engineer switches on by configuration, as the command builds it."""

import inspect
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from omegaconf import OmegaConf
from started_runs import CONF, EXPERIMENTS, start

from anchor.errors import ConfigError
from anchor.models import PatchDiscriminator, load_network, read_checkpoint
from launch.batch_size import search
from launch.cli import check_run
from launch.networks import CompileNetworks, explain_failure
from lightning_modules import QualityModule
from lightning_modules.callbacks import OverfitCheck


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_accumulates_averages_and_stops_early(experiment, composed, tmp_path):
    words = ["callbacks=[ema,early_stopping,top]", "trainer.accumulate_grad_batches=2", "module.schedule=linear"]
    ends = ["callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=100", "trainer.max_steps=50"]
    small = ["datamodule.batch_size=4", "datamodule.windows_per_clip=2", "datamodule.val_windows_per_clip=2"]
    config = composed(experiment, *words, *ends, *small, "trainer.val_check_interval=2")
    assert start(config, tmp_path / "run")["steps"] == 4  # the second validation is no better than the first
    folder = tmp_path / "run" / "checkpoints"
    last = read_checkpoint(folder / "last.ckpt")
    optimizers = 2 if experiment == "quality" else 1
    assert last["global_step"] == 2 * optimizers
    assert last["callbacks"]["WeightAverage"] == {"updates": 2}
    tops = sorted(path.name for path in (folder / "top").iterdir())
    assert tops == [f"step-{optimizers}.ckpt", f"step-{2 * optimizers}.ckpt"]
    kind = "expert" if experiment == "syncnet" else "generator"
    raw, averaged = (load_network(folder / "best.ckpt", kind, weights).state_dict() for weights in ("raw", "ema"))
    assert any(not torch.equal(raw[name], averaged[name]) for name in raw)


def test_the_best_checkpoint_is_the_best_by_its_averaged_weights(composed, tmp_path):
    config = composed(
        "syncnet", "callbacks=ema", "trainer.max_steps=3", "trainer.val_check_interval=3", "module.lr=0.1"
    )
    config["datamodule"]["val_batch_size"] = 8
    start(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    recorded = next(line for line in lines if "val/sync_loss" in line)["val/sync_loss"]
    found = {}
    for weights in ("raw", "ema"):
        from datamodules import SyntheticDataModule
        from lightning_modules import SyncNetModule

        module = SyncNetModule(net=load_network(tmp_path / "run" / "checkpoints" / "best.ckpt", "expert", weights))
        options = {key: value for key, value in config["datamodule"].items() if key != "_target_"}
        data = SyntheticDataModule(**{**options, "image_size": 96})
        trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
        found[weights] = trainer.validate(module, data, verbose=False)[0]["val/sync_loss"]
    assert found["ema"] == pytest.approx(recorded, rel=1e-5)
    assert found["raw"] != pytest.approx(recorded, rel=1e-3)


def test_every_argument_of_the_trainer_is_a_key():
    listed = set(OmegaConf.load(CONF / "trainer" / "default.yaml"))
    elsewhere = {"accelerator", "devices", "num_nodes", "callbacks", "logger"}  # groups of their own
    assert listed == set(inspect.signature(L.Trainer.__init__).parameters) - {"self"} - elsewhere


@pytest.fixture
def _any_kernel():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_any_kernel")
def test_debug_is_a_few_steps_of_everything(composed, tmp_path):
    words = ["trainer=debug", "trainer.deterministic=true", "datamodule.batch_size=4", "datamodule.windows_per_clip=2"]
    config = composed("syncnet", *words, "trainer.max_steps=6", "trainer.val_check_interval=3")
    assert start(config, tmp_path / "run")["steps"] == 6
    assert config["trainer"]["detect_anomaly"]
    assert torch.are_deterministic_algorithms_enabled()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val/sync_loss" in line] == [3, 6]


def test_overfit_shows_one_batch_until_its_loss_has_fallen(composed, tmp_path, capsys):
    words = ["trainer=overfit", "callbacks=keys", "datamodule.batch_size=12", "datamodule.windows_per_clip=3"]
    config = composed("syncnet", *words, "trainer.max_steps=60", "module.warmup_steps=5")
    steps = start(config, tmp_path / "run")["steps"]
    assert 1 < steps < 60
    lines = (tmp_path / "run" / "keys" / "rank-0.jsonl").read_text().splitlines()
    assert len(lines) == steps
    assert len({json.dumps(json.loads(line)["keys"]) for line in lines}) == 1
    assert "it learns" in capsys.readouterr().err


class OfSeveral:
    """A strategy on one of several ranks, of whose ``losses`` it knows."""

    root_device = torch.device("cpu")

    def __init__(self, losses):
        self.losses = iter(losses)

    def reduce(self, value, reduce_op):
        everybodys = next(self.losses)
        assert float(value) in everybodys
        return torch.tensor(everybodys).mean()


def test_overfit_ends_at_the_same_step_on_every_rank():
    losses = torch.tensor([[1.0, 1.0], [0.7, 0.8], [0.49, 0.55], [0.4, 0.5]]).tolist()
    ends = []
    for rank in range(2):
        check, ended = OverfitCheck(), []
        trainer = SimpleNamespace(callback_metrics={}, should_stop=False, strategy=OfSeveral(losses))
        for row in losses:
            trainer.callback_metrics["train/loss"] = torch.tensor(row[rank])
            check.on_train_batch_end(trainer, None)
            ended.append(trainer.should_stop)
        ends.append((ended, check.least))
    assert ends == [([False, False, False, True], pytest.approx(0.45))] * 2


@pytest.mark.parametrize("value", ["0.5", "-1", "true"])
def test_a_share_of_the_batches_cannot_be_overfitted(value, composed, tmp_path):
    with pytest.raises(ConfigError, match=r"trainer.overfit_batches="):
        start(composed("syncnet", f"trainer.overfit_batches={value}"), tmp_path / "run")


@pytest.mark.parametrize("kind", ["simple", pytest.param("pytorch", marks=pytest.mark.slow)])
def test_profile_leaves_a_report(kind, composed, tmp_path):
    words = ["trainer=profile", f"trainer.profiler={kind}", "datamodule.batch_size=4", "datamodule.windows_per_clip=2"]
    words += ["trainer.max_steps=20", "trainer.val_check_interval=100"]
    start(composed("syncnet", *words), tmp_path / "run")
    reports = [path.read_text() for path in (tmp_path / "run" / "profile").glob("fit-*.txt")]
    assert any(word in "".join(reports) for word in ("run_training_batch", "aten::convolution"))


def test_the_experiment_says_how_long_and_a_preset_otherwise(composed):
    from hydra import compose, initialize_config_module

    def trainer(*words):
        with initialize_config_module("anchor.conf", version_base="1.3"):
            return compose("train", ["experiment=syncnet", *words]).trainer

    assert (trainer().max_steps, trainer().val_check_interval) == (1000, 200)
    assert trainer("trainer.max_steps=7").max_steps == 7
    assert trainer("trainer=debug").max_steps == 6
    assert trainer("trainer=overfit").max_steps == 500
    assert trainer("trainer=profile", "trainer.max_steps=9").max_steps == 9


def test_activations_are_computed_twice_by_configuration(composed, tmp_path):
    small = ["datamodule.batch_size=2", "trainer.max_steps=2"]
    states = []
    for value in ("true", "false"):
        config = composed("generator", f"activation_checkpointing={value}", "module.sync_start_step=0", *small)
        result = start({**config, "run_dir": str(tmp_path / value)}, tmp_path / value)
        states.append(read_checkpoint(result["checkpoint"])["state_dict"])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["compile=true", "activation_checkpointing=true"], "exclude each other"),
        (["compile=maybe"], "neither true nor false"),
        (["compile=true"], r"needs a C\+\+ compiler, and no-such-compiler is here"),
    ],
)
def test_what_cannot_be_switched_on_is_answered(words, says, composed, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=says):
        start(composed("syncnet", *words), tmp_path / "run")


def test_what_is_compiled(small_generator, small_expert, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    judges = {"discriminator": PatchDiscriminator(widths=(4, 8)), "expert": small_expert}
    module = QualityModule(net=small_generator, **judges)
    CompileNetworks().on_fit_start(None, module)
    assert compiled == [module.net, module.discriminator, small_expert.mouth_encoder]


@pytest.mark.slow
def test_a_compiled_run_leaves_the_checkpoint_of_a_plain_one(composed, tmp_path, monkeypatch):
    """Traced as the real thing is, but left to the interpreter: the C++ of a network takes minutes."""
    compile_in_place = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile_in_place(self, backend="eager"))
    small = ["datamodule.batch_size=2", "module.expert=null", "callbacks=ema", "compile=true", "model.image_size=32"]
    small += ["model.generator.widths=[4,6,8]", "model.generator.strides=[2,2,2]"]
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    result = start(composed("generator", *small), tmp_path / "run")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    load_network(result["checkpoint"], "generator", "raw")
    load_network(result["checkpoint"], "generator", "ema")


@pytest.mark.usefixtures("_any_kernel")
def test_an_operation_without_a_deterministic_kernel_is_named():
    torch.use_deterministic_algorithms(True)
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
    assert "has no deterministic kernel" in explain_failure(caught.value)
    assert "put_" in explain_failure(caught.value)
    assert "trainer.deterministic=warn" in explain_failure(caught.value)
    assert explain_failure(RuntimeError("something else")) is None


@pytest.mark.parametrize("most", range(12))
@pytest.mark.parametrize("limit", [1, 2, 6, 11])
def test_the_search_finds_the_largest_that_fits_in_few_tries(most, limit):
    tried = []

    def fits(number):
        tried.append(number)
        assert number <= limit
        return number <= most

    assert search(fits, limit) == min(most, limit)
    assert len(tried) == len(set(tried)) <= 8


@pytest.mark.parametrize("experiment", ["syncnet", pytest.param("quality", marks=pytest.mark.slow)])
def test_the_largest_batch_is_found_on_one_card_for_all(experiment, composed, tmp_path, monkeypatch, capsys):
    words = ["callbacks=ema", "trainer.accumulate_grad_batches=8", "datamodule.windows_per_clip=2"]
    config = composed(experiment, *words, "model.generator.widths=[4,6,8,8,8]", "datamodule.val_windows_per_clip=2")
    seen = []
    step = L.LightningModule.manual_backward if experiment == "quality" else L.LightningModule.backward

    def short(self, loss, *args, **options):
        size = self.trainer.datamodule.batch_size
        seen.append(size)
        if size > 7:  # a card that holds seven windows
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes.")
        return step(self, loss, *args, **options)

    monkeypatch.setattr(L.LightningModule, step.__name__, short)
    result = start({**config, "find_batch_size": 4}, tmp_path / "run")
    assert result["batch_size"] == 24
    assert "datamodule.batch_size=24" in result["sentence"]
    assert sorted(set(seen)) == [2, 4, 6, 8]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["batch_size"] == 24
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.yaml", "result.json"}
    assert "6 windows on a card: fit" in capsys.readouterr().err


def test_a_search_that_cannot_be_is_one_sentence(composed, tmp_path):
    config = {**composed("syncnet"), "find_batch_size": True}
    sharded = {**config, "accelerator": {**config["accelerator"], "devices": 2, "strategy": "fsdp"}}
    with pytest.raises(ConfigError, match=r"on one card, and accelerator.strategy=fsdp .* accelerator.strategy=ddp"):
        check_run(OmegaConf.create(sharded))
    assert check_run(OmegaConf.create(config))[1].devices == 1
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"run holds a run, whose config.yaml and result.json would be replaced"):
        check_run(OmegaConf.create(config))


def test_a_failure_that_is_no_lack_of_memory_ends_the_search(composed, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(L.LightningModule, "backward", fail)
    with pytest.raises(RuntimeError, match="something else"):
        start({**composed("syncnet"), "find_batch_size": 1}, tmp_path / "run")


@pytest.mark.slow
def test_the_batch_found_on_a_card_short_of_memory_is_trained_with(tmp_path):
    """On the simulated card: its allocator refuses as a real one does, and gives the memory of a try back."""
    small = ["datamodule.speakers=3", "datamodule.val_speakers=1", "datamodule.seconds=1.2", "run_dir=run"]
    words = [
        "experiment=generator",
        "accelerator=mlu_sim",
        "accelerator.devices=2",
        "datamodule.val_batch_size=2",
        *small,
    ]
    environment = {**os.environ, "ANCHOR_MLU_SIM_MEMORY_GB": "0.1", "OMP_NUM_THREADS": "1"}

    def anchor(*more):
        command = [sys.executable, "-m", "anchor", "train", *words, *more]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    done = anchor("datamodule.batch_size=2", "find_batch_size=true")
    assert done.returncode == 0, done.stdout + done.stderr
    size = int(re.search(r"set datamodule.batch_size=(\d+)", done.stdout)[1])
    assert f"up to {size} windows fit ({size // 2} on each of 2 cards)" in done.stdout
    assert "do not fit" in done.stdout + done.stderr
    done = anchor(f"datamodule.batch_size={size}", "trainer.max_steps=2", "trainer.val_check_interval=2")
    assert done.returncode == 0, done.stdout + done.stderr
    done = anchor(f"datamodule.batch_size={2 * size}", "trainer.max_steps=2", "resume=none")
    assert done.returncode == 2
    assert "short of memory" in done.stdout + done.stderr

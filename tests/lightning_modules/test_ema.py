import copy
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from small_runs import Data, fit

from anchor.errors import CheckpointError, ConfigError
from anchor.models import PatchDiscriminator, load_network, read_checkpoint
from lightning_modules import FinetuneModule, GeneratorModule, QualityModule, SyncNetModule
from lightning_modules.callbacks import WeightAverage
from lightning_modules.callbacks.ema import averaged_tensors

LENGTHS = (12, 14, 13, 20)


class History(L.pytorch.callbacks.Callback):
    """What the weights were after each batch, and what validation saw."""

    def __init__(self):
        self.weights, self.judged, self.after = [], [], []

    def on_train_batch_end(self, trainer, module, *_):
        self.weights.append(copy_of(module))

    def on_validation_batch_start(self, trainer, module, *_):
        self.judged.append(copy_of(module))

    def on_train_batch_start(self, trainer, module, *_):
        self.after.append(copy_of(module))


def copy_of(module):
    return {name: value.detach().clone() for name, value in averaged_tensors(module).items()}


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_average_is_the_one_of_the_formula_and_validation_sees_it(small_expert, numbered_clips):
    module = SyncNetModule(net=small_expert, warmup_steps=0)
    ema, history = WeightAverage(decay=0.5), History()
    expected, first = copy_of(module), copy_of(module)
    fit(module, Data(numbered_clips(lengths=LENGTHS)), steps=5, callbacks=[ema, history])
    for n, weights in enumerate(history.weights):
        decay = min(0.5, (1 + n) / (10 + n))
        expected = {name: decay * old + (1 - decay) * weights[name] for name, old in expected.items()}
    assert not same(first, history.weights[-1])
    for name, value in expected.items():
        torch.testing.assert_close(ema.average[name], value)
        torch.testing.assert_close(history.judged[0][name], value)
    assert same(copy_of(module), history.weights[-1])  # training has its own back
    assert ema.updates == 5


def test_steps_are_averaged_and_not_the_batches_of_an_accumulation(small_expert, numbered_clips):
    ema = WeightAverage()
    fit(SyncNetModule(net=small_expert), Data(numbered_clips()), accumulate_grad_batches=3, callbacks=[ema])
    assert ema.updates == 3


@pytest.mark.parametrize("stage", ["syncnet", "generator", "finetune", "quality"])
def test_what_learns_is_averaged_and_nothing_else(stage, small_expert, small_generator, numbered_clips):
    module = {
        "syncnet": lambda: SyncNetModule(net=small_expert),
        "generator": lambda: GeneratorModule(net=small_generator, expert=small_expert),
        "finetune": lambda: FinetuneModule(net=small_generator, expert=small_expert),
        "quality": lambda: QualityModule(net=small_generator, discriminator=PatchDiscriminator(widths=(4, 8))),
    }[stage]()
    ema = WeightAverage()
    fit(module, Data(numbered_clips()), callbacks=[ema])
    learnt = {f"net.{name}" for name, value in module.net.named_parameters() if value.requires_grad}
    statistics = {name for name in ema.average if "running_" in name}
    assert ema.average.keys() == learnt | statistics
    assert statistics
    assert all(value.dtype == torch.float32 for value in ema.average.values())
    assert ema.updates == 3
    if stage == "finetune":
        assert all(name.startswith("net.identity_encoder.") for name in ema.average)


@pytest.mark.parametrize("stop", [3, 7, 8])
def test_a_resumed_average_is_bitwise_that_of_the_uninterrupted_run(stop, tmp_path, small_generator, numbered_clips):
    def run(steps, ckpt_path=None):
        module = FinetuneModule(net=copy.deepcopy(small_generator), schedule="constant")
        ema = WeightAverage(decay=0.9)
        data = Data(numbered_clips(lengths=LENGTHS))
        options = {"val_check_interval": 4, "callbacks": [ema]}
        return fit(module, data, steps=steps, ckpt_path=ckpt_path, **options), module, ema

    _, whole, whole_ema = run(10)
    run(stop)[0].save_checkpoint(tmp_path / "a.ckpt")
    _, rest, rest_ema = run(10, tmp_path / "a.ckpt")
    assert same(copy_of(rest), copy_of(whole))
    assert same(rest_ema.average, whole_ema.average)
    assert rest_ema.updates == whole_ema.updates == 10


def test_a_checkpoint_gives_either_kind(tmp_path, small_expert, numbered_clips):
    module, ema = SyncNetModule(net=small_expert), WeightAverage(decay=0.9)
    trainer = fit(module, Data(numbered_clips()), callbacks=[ema])
    path = tmp_path / "a.ckpt"
    trainer.save_checkpoint(path)
    nets = {kind: load_network(path, "expert", kind).state_dict() for kind in ("auto", "ema", "raw")}
    for name, value in module.net.state_dict().items():
        assert torch.equal(nets["raw"][name], value)
        assert torch.equal(nets["ema"][name], ema.average.get(f"net.{name}", value))
        assert torch.equal(nets["auto"][name], nets["ema"][name])
    assert not torch.equal(nets["raw"]["log_scale"], nets["ema"]["log_scale"])
    plain = tmp_path / "b.ckpt"
    fit(SyncNetModule(net=small_expert), Data(numbered_clips())).save_checkpoint(plain)
    load_network(plain, "expert", "auto")
    with pytest.raises(CheckpointError, match="no averaged weights"):
        load_network(plain, "expert", "ema")
    with pytest.raises(ConfigError, match="weights=swa is no choice"):
        load_network(plain, "expert", "swa")


def test_what_is_saved_within_a_validation_or_after_its_failure_holds_the_raw_weights(
    tmp_path, small_expert, numbered_clips
):
    class Save(L.pytorch.callbacks.Callback):
        def on_validation_batch_end(self, trainer, *_):
            trainer.save_checkpoint(tmp_path / "within.ckpt")
            raise KeyError("a validation that fails")

    class Catch(L.pytorch.callbacks.Callback):
        def on_exception(self, trainer, module, exception):
            trainer.save_checkpoint(tmp_path / "after.ckpt")

    ema, history = WeightAverage(), History()
    with pytest.raises(KeyError):
        fit(SyncNetModule(net=small_expert), Data(numbered_clips()), callbacks=[ema, history, Save(), Catch()])
    for name in ("within", "after"):
        checkpoint = read_checkpoint(tmp_path / f"{name}.ckpt")
        for key, value in history.weights[-1].items():
            assert torch.equal(checkpoint["state_dict"][key], value)
            assert torch.equal(checkpoint["ema_state_dict"][key], ema.average[key])


def test_averaging_can_begin_in_a_run_that_had_none(tmp_path, small_expert, numbered_clips):
    fit(SyncNetModule(net=small_expert), Data(numbered_clips())).save_checkpoint(tmp_path / "a.ckpt")
    ema = WeightAverage()
    fit(SyncNetModule(net=small_expert), Data(numbered_clips()), 5, tmp_path / "a.ckpt", callbacks=[ema])
    assert ema.updates == 2


@pytest.mark.parametrize("decay", [1.0, -0.1, "x", True])
def test_a_decay_that_is_none_is_answered(decay):
    with pytest.raises(ConfigError, match=r"callbacks.ema.decay="):
        WeightAverage(decay=decay)


def test_cards_that_share_a_network_are_answered(small_expert):
    class Trainer:
        strategy = L.pytorch.strategies.FSDPStrategy()

    with pytest.raises(ConfigError, match=r"use accelerator.strategy=ddp"):
        WeightAverage().setup(Trainer(), SyncNetModule(net=small_expert), "fit")


@pytest.mark.slow
def test_two_ranks_have_one_average_and_judge_it_alike(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    support = str(Path(__file__).resolve().parents[1] / "support")
    done = subprocess.run([*command, support], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = ((tmp_path / f"rank{rank}").read_text().split() for rank in (0, 1))
    assert one == two
    average, judged, raw = one
    assert average == judged != raw


TWO_RANKS = """
import hashlib, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import lightning as L, torch
from stand_ins import NumberedClips
from small_runs import Data, fit
from anchor.models import LipGenerator
from launch.ranks import SameBuffers
from lightning_modules import GeneratorModule
from lightning_modules.callbacks import WeightAverage
from lightning_modules.callbacks.ema import averaged_tensors

def digest(tensors):
    return hashlib.sha256(b"".join(value.detach().numpy().tobytes() for value in tensors.values())).hexdigest()

class Judged(L.pytorch.callbacks.Callback):
    def on_validation_batch_start(self, trainer, module, *_):
        self.digest = digest(averaged_tensors(module))

torch.manual_seed(0)
net = LipGenerator(image_size=32, widths=(4, 6, 8), strides=(2, 2, 2), speech_width=2, embedding_size=8)
module, ema, judged = GeneratorModule(net=net), WeightAverage(), Judged()
data = Data(NumberedClips())
fit(module, data, steps=4, devices=2, strategy="ddp", callbacks=[ema, judged, SameBuffers()])
lines = [digest(ema.average), judged.digest, digest(averaged_tensors(module))]
Path(f"rank{os.environ['RANK']}").write_text(" ".join(lines))
torch.distributed.barrier()
torch.distributed.destroy_process_group()  # else a rank that leaves first may abort the other at its exit
"""

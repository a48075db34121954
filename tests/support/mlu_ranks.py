"""One rank of a training that is compared with one process: ``python mlu_ranks.py KIND OUT``, ranks by environment.

The CPU learns first, alone; then the ranks do together. Gradients are those that the optimizer is given.
"""

import hashlib
import json
import os
import sys

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from stand_ins import NumberedClips
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from anchor.models import LipGenerator, PatchDiscriminator, SyncNet
from datamodules.base import WindowDataModule
from launch.accelerators import Machine, check_trainer
from launch.mlu import MLUCheckpointIO, MLUDDPStrategy, library
from launch.mlu_sim import activate
from launch.ranks import SameBuffers
from lightning_modules import FinetuneModule, GeneratorModule, QualityModule, SyncNetModule

STAGES = ("syncnet", "bce", "pairwise", "generator", "finetune", "quality")
SHARDED = [("fsdp", "syncnet"), ("fsdp", "generator"), ("fsdp", "finetune")]
if tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6):
    SHARDED += [("fsdp2", "generator"), ("fsdp2", "finetune")]


class DrawnClips(NumberedClips):
    """Pictures and mels of noise: batch normalisation divides by their spread, and flat ones have next to none."""

    def read_frames(self, clip, frames):
        draws = [np.random.default_rng((clip.location, frame)) for frame in frames]
        return np.stack([draw.integers(0, 256, (self.image_size, self.image_size, 3), np.uint8) for draw in draws])

    def read_mel(self, clip):
        steps = clip.num_frames * 16 // 5 + 1
        return np.random.default_rng(clip.location).normal(size=(steps, 80)).astype(np.float32)


class Data(WindowDataModule):
    """22 training windows in batches of 8, ``given`` of them seen: the third is filled up with windows of no weight."""

    def __init__(self, given):
        super().__init__(image_size=32, batch_size=8, windows_per_clip=3, negatives_per_window=1, val_batch_size=5)
        self.given = given

    def train_dataloader(self):
        loader = super().train_dataloader()
        loader.sampler.given = self.given
        return loader

    def open_source(self):
        return DrawnClips(lengths=(9, 13, 12, 24, 21), val=2)


class Record(Callback):
    """The gradients of every optimizer step, and the metrics of every batch."""

    def __init__(self):
        self.gradients = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if gradients:  # of a sharded network a rank may hold nothing that learns
            self.gradients.append(torch.cat([gradient.detach().float().cpu().flatten() for gradient in gradients]))


def sgd(parameters, lr, betas=None):
    """An optimizer that does not turn rounding into steps, as Adam does where a gradient is almost 0."""
    return torch.optim.SGD(parameters, lr=lr)


def make(stage):
    # At seed 0 one block of the fine-tune's pictures has a second difference of 0 but for rounding: its sign is chance.
    torch.manual_seed(1 if stage == "finetune" else 0)
    about = {"positive": stage == "bce", "affine": stage == "pairwise"}
    expert = SyncNet(image_size=32, width=2, embedding_size=8, **about)
    net = LipGenerator(image_size=32, widths=(4, 6, 8), strides=(2, 2, 2), speech_width=2, embedding_size=8)
    common = {"optimizer": sgd, "lr": 1e-2}
    if stage in ("syncnet", "bce", "pairwise"):
        loss = "info_nce" if stage == "syncnet" else stage
        return SyncNetModule(net=expert, loss=loss, foreign_weight=0.3, warmup_steps=0, **common)
    if stage == "generator":
        return GeneratorModule(net=net, expert=expert, sync_start_step=0, sync_ramp_steps=1, warmup_steps=0, **common)
    if stage == "finetune":
        return FinetuneModule(net=net, expert=expert, sync_weight=0.1, warmup_steps=0, **common)
    discriminator = PatchDiscriminator(widths=(4, 8))
    ramp = {"adversarial_start_step": 0, "adversarial_ramp_steps": 1}
    return QualityModule(net=net, discriminator=discriminator, expert=expert, discriminator_lr=1e-2, **ramp, **common)


def fit(stage, machine, given=0, steps=1, asleep=False, save=None, **options):
    """What training left: gradients of each step, validation scores, weights, and a hash of them."""
    module = make(stage)
    if asleep:  # batch normalisation that takes the running statistics: then a batch may be cut anywhere
        module.on_train_batch_start = lambda *_: module.eval()
    record = Record()
    by_hand = not module.automatic_optimization
    arguments = machine.trainer_arguments(by_hand)
    arguments["plugins"] = [*arguments.get("plugins", []), MLUCheckpointIO()]
    trainer = L.Trainer(
        max_steps=steps * (2 if by_hand else 1),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=steps,
        callbacks=[record, *([SameBuffers()] if machine.world_size > 1 else [])],
        **{**arguments, **options},
    )
    check_trainer(trainer, machine)
    trainer.fit(module, Data(given))
    scores = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
    if save is not None:
        trainer.save_checkpoint(save)
        return record.gradients, scores, torch.load(save, weights_only=True)["state_dict"]
    return record.gradients, scores, {key: value.detach().cpu() for key, value in module.state_dict().items()}


def digest(weights):
    """SHA-256 over all parameters and buffers."""
    total = hashlib.sha256()
    for _, tensor in sorted(weights.items()):
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def compare(ours, theirs):
    """The largest difference of any step, as a share of the step's gradient where its norm is above 1."""
    return max(float((a - b).abs().max() / max(1.0, b.norm())) for a, b in zip(ours, theirs, strict=True))


def spread(ours, theirs):
    """The largest difference of any weight or statistic of the network."""
    assert ours.keys() == theirs.keys()
    learnt = [key for key in ours if key.startswith("net.") and "num_batches_tracked" not in key]
    return max(float((ours[key].double() - theirs[key].double()).abs().max()) for key in learnt)


def main(kind, out):
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    one = Machine("cpu", 1, 1, "32-true")
    if kind == "mlu":
        activate()
        library.load()  # before the first backward, which counts the devices
    asleep = kind == "cpu"  # PyTorch synchronises batch normalisation on cards only
    tasks = [(stage, given) for stage in STAGES for given in (0, 16)]
    alone = {task: fit(task[0], one, task[1], asleep=asleep) for task in tasks}
    many = Machine(kind, world, 1, "32-true")
    answer = {}
    for stage, given in tasks:
        gradients, scores, weights = fit(stage, many, given, asleep=asleep, sync_batchnorm=not asleep)
        answer[f"{stage} after {given}"] = {
            "difference": compare(gradients, alone[stage, given][0]),
            "turns": len(gradients),
            "gradients": hashlib.sha256(torch.cat(gradients).numpy().tobytes()).hexdigest(),
            "network": digest(weights),
            "scores": scores,
            "their_scores": alone[stage, given][1],
        }
    answer["networks"] = {stage: digest(fit(stage, many, steps=5)[2]) for stage in ("generator", "quality")}
    if kind == "mlu":
        answer["exchange"] = exchange(rank, many)
        for strategy, stage in SHARDED:
            answer[f"{strategy} {stage}"] = shard(stage, Machine("mlu", world, 1, "32-true", strategy), out, alone)
    with open(f"{out}-{rank}.json", "w") as file:
        json.dump(answer, file)


def exchange(rank, machine):
    """Means over the ranks of whole numbers, on the card and on the CPU; and whether DDP calls a hook of the user's."""
    called = []

    def hook(state, bucket):
        state.append(bucket.index())
        return allreduce_hook(None, bucket)

    strategy = MLUDDPStrategy(ddp_comm_hook=hook, ddp_comm_state=called)
    fit("generator", machine, strategy=strategy)
    strategy.barrier()
    means = [strategy.reduce(torch.tensor(rank + 1, device=place)) for place in (strategy.root_device, "cpu")]
    sums = [strategy.reduce(torch.tensor(rank + 1, device=place), reduce_op="sum") for place in ("cpu",)]
    return {"means": [float(mean) for mean in means], "sums": [int(total) for total in sums], "hooked": len(called)}


def shard(stage, machine, out, alone):
    from torch_mlu.simulation import collective_counts, reset_collective_counts

    reset_collective_counts()
    options = {"sync_batchnorm": True, "gradient_clip_val": 1e6} if machine.strategy == "fsdp" else {"asleep": True}
    one = Machine("cpu", 1, 1, "32-true")
    theirs = fit(stage, one, asleep=True)[2] if "asleep" in options else alone[stage, 0][2]
    return {
        "difference": spread(fit(stage, machine, save=f"{out}-{stage}.ckpt", **options)[2], theirs),
        "moved": spread(theirs, make(stage).state_dict()),
        "collectives": collective_counts(),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])

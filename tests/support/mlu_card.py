"""What the plugin does on one simulated card, and what Lightning does there without it; prints JSON by question."""

import json
import os
import sys
import warnings
from pathlib import Path

from launch import mlu_sim

mlu_sim.activate()

import lightning as L  # noqa: E402
import torch  # noqa: E402
import torch_mlu  # noqa: E402, F401
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO  # noqa: E402
from lightning.pytorch.callbacks import DeviceStatsMonitor  # noqa: E402
from lightning.pytorch.loggers import CSVLogger  # noqa: E402
from lightning.pytorch.plugins.precision import MixedPrecision  # noqa: E402
from lightning.pytorch.strategies import SingleDeviceStrategy  # noqa: E402
from lightning.pytorch.tuner import Tuner  # noqa: E402
from torch import nn  # noqa: E402

from launch.accelerators import resolve_machine  # noqa: E402
from launch.checkpoints.tensors import all_tensors  # noqa: E402
from launch.mlu import (  # noqa: E402
    MLUAccelerator,
    MLUCheckpointIO,
    MLUFSDPStrategy,
    MLUProfiler,
    MLUThroughputMonitor,
    get_rng_state,
    make_precision,
    register,
    set_rng_state,
    to_cpu,
    trainer_arguments,
)

QUIET = {
    "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
}  # fmt: skip
FOLDER = Path(sys.argv[1])


class Student(L.LightningModule):
    """A network of two layers that remembers in which type and where it computed."""

    def __init__(self, width=8, batch_size=4, rows=16):
        super().__init__()
        self.batch_size, self.rows, self.width = batch_size, rows, width
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 1))
        self.seen = []

    def training_step(self, batch, batch_idx):
        output = self.net(batch[0])
        self.seen.append(f"{output.device} {output.dtype}")
        return output.float().square().mean()

    def train_dataloader(self):
        rows = torch.randn(self.rows, 8, generator=torch.Generator().manual_seed(1))
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows), batch_size=self.batch_size)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def fit(module=None, steps=1, ckpt_path=None, **options):
    options = {"logger": False, "enable_checkpointing": False, **QUIET, **options}
    module = module or Student()
    trainer = L.Trainer(max_steps=steps, **options)
    trainer.fit(module, ckpt_path=ckpt_path, weights_only=True)
    return trainer, module


def refused(question):
    try:
        question()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was said"


def names():
    """Plain Lightning, after register()."""
    found = {}
    for strategy, precision in (("mlu", "32-true"), ("mlu", "16-mixed"), ("ddp", "bf16-mixed"), ("mlu_ddp", "32-true")):
        trainer, module = fit(accelerator="mlu", devices=1, strategy=strategy, precision=precision)
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        factor = scaler.state_dict().get("scale") if scaler else None
        found[f"{strategy} {precision}"] = [type(trainer.strategy).__name__, *module.seen, factor]
    found["group"] = torch.distributed.get_backend_config()
    arguments = trainer_arguments("auto", [1], precision="bf16-mixed")
    found["resolver"] = fit(**arguments)[1].seen
    return found


def falls():
    """What would go on in silence, and is refused."""
    one = {"accelerator": "mlu", "devices": 1}
    foreign = SingleDeviceStrategy("mlu:0")
    mixed = {"strategy": foreign, "plugins": [MixedPrecision("bf16-mixed", device="cuda")]}
    return {
        "auto strategy": refused(lambda: fit(**one, strategy="auto")),
        "float32": refused(lambda: fit(**one, **mixed)),
        "lightning's fsdp": refused(lambda: fit(**one, strategy="fsdp")),
        "fork": refused(lambda: fit(accelerator="mlu", devices=2, strategy="ddp_fork")),
        "notebook": refused(lambda: trainer_arguments("mlu", 2, "ddp_notebook")),
        "too many": refused(lambda: L.Trainer(accelerator="mlu", devices=3, strategy="ddp", **QUIET)),
        "twice": refused(lambda: MLUAccelerator.parse_devices([0, 0])),
        "gloo alone": refused(gloo_alone),
        "16-mixed in fsdp2": refused(lambda: trainer_arguments("mlu", 2, "fsdp2", "16-mixed")),
    }


def gloo_alone():
    from launch.mlu import MLUDDPStrategy

    fit(accelerator="mlu", devices=1, strategy=MLUDDPStrategy(process_group_backend="gloo"))


def bfloat16():
    supported, name = torch.mlu.is_bf16_supported, torch.mlu.get_device_name
    torch.mlu.is_bf16_supported, torch.mlu.get_device_name = lambda: False, lambda *_: "MLU370-X8"
    try:
        plain = {"accelerator": "mlu", "devices": 1, "strategy": "mlu", "precision": "bf16-mixed"}
        return [refused(lambda: make_precision("bf16-mixed")), refused(lambda: fit(**plain))]
    finally:
        torch.mlu.is_bf16_supported, torch.mlu.get_device_name = supported, name


def machines():
    """What the configuration's words are answered with."""
    asked = {"name": "mlu", "devices": "auto", "nodes": 1, "precision": "auto", "strategy": "auto"}
    machine = resolve_machine({**asked, "name": "auto"})
    many = [refused(lambda: resolve_machine({**asked, "devices": 3}))]
    os.environ["MLU_VISIBLE_DEVICES"] = "0,1"
    many.append(refused(lambda: resolve_machine({**asked, "devices": 3})))
    del os.environ["MLU_VISIBLE_DEVICES"]
    shard = [refused(lambda: resolve_machine({**asked, "devices": 1, "strategy": "fsdp"}))]
    supported, name = torch.mlu.is_bf16_supported, torch.mlu.get_device_name
    torch.mlu.is_bf16_supported, torch.mlu.get_device_name = lambda: False, lambda *_: "MLU370-X8"
    try:
        bf16 = [
            refused(lambda: resolve_machine({**asked, "precision": "bf16-mixed"})),
            resolve_machine(asked).precision,
        ]
    finally:
        torch.mlu.is_bf16_supported, torch.mlu.get_device_name = supported, name
    return {"auto": str(machine), "many": many, "shard": shard, "bf16": bf16}


def checkpoints():
    """From the card to the CPU and back, beside a run that goes on as often and stays on the CPU."""
    moved, places = go_on(("mlu", "cpu", "mlu"))
    stayed, _ = go_on(("cpu", "cpu", "cpu"))
    theirs = dict(stayed.state_dict())
    stock = FOLDER / "stock.ckpt"
    on_card = {"weight": torch.ones(2, device="mlu:0")}
    TorchCheckpointIO().save_checkpoint(on_card, stock)
    return {
        "places": places,
        "difference": max(float((value - theirs[key]).abs().max()) for key, value in moved.state_dict().items()),
        "stock": str(torch.load(stock, weights_only=True)["weight"].device),
        "shared": same_twice(to_cpu([on_card["weight"], {"again": (on_card["weight"],)}])),
    }


def go_on(order):
    """Two steps in each place, from one checkpoint to the next; the module, and where the last tensors were."""
    path = FOLDER / f"{'-'.join(order)}.ckpt"
    for turn, place in enumerate(order):
        arguments = trainer_arguments(place, 1, plugins=[MLUCheckpointIO()])
        trainer, module = fit(Student(rows=8), 2 * (turn + 1), ckpt_path=path if turn else None, **arguments)
        trainer.save_checkpoint(path)
    return module, sorted({str(value.device) for value in all_tensors(torch.load(path, weights_only=True))})


def same_twice(moved):
    return moved[0] is moved[1]["again"][0] and moved[0].device.type == "cpu"


def randomness():
    device = torch.device("mlu:1")
    torch.manual_seed(3)
    state = get_rng_state(device)
    first = torch.rand(4, device=device)
    between = torch.rand(4, device=device)
    set_rng_state(state, device)
    again = torch.rand(4, device=device)
    off = get_rng_state(torch.device("cpu"))
    set_rng_state(None, device)
    set_rng_state(state, torch.device("cpu"))
    return {
        "same": torch.equal(first, again),
        "other": torch.equal(first, between),
        "place": str(state.device),
        "off": off,
    }


def measures():
    """Device statistics, the profiler, the throughput's clock, and what Lightning says of the card."""
    waits = []
    wait = torch.mlu.synchronize
    torch.mlu.synchronize = lambda *words: (waits.append(1), wait(*words))[1]
    profiler = MLUProfiler(dirpath=FOLDER, filename="profile")
    monitor = MLUThroughputMonitor(batch_size_fn=lambda batch: len(batch[0]), window_size=3)
    stats, logger = DeviceStatsMonitor(), CSVLogger(FOLDER, name="stats", version=0)
    try:
        beside = {"callbacks": [stats, monitor], "logger": logger, "profiler": profiler}
        fit(Student(rows=40), steps=8, log_every_n_steps=1, **beside, **trainer_arguments("mlu", 1))
    finally:
        torch.mlu.synchronize = wait
    columns = (FOLDER / "stats" / "version_0" / "metrics.csv").read_text().splitlines()[0].split(",")
    report = next(FOLDER.glob("*profile*.txt")).read_text()
    return {
        "stats": sorted(column.rpartition("/")[2].rpartition(".")[2] for column in columns if "bytes" in column),
        "waits": len(waits),
        "activities": [str(activity) for activity in profiler._profiler_kwargs["activities"]],
        "profile": [word for word in ("aten::addmm", "Self CPU") if word in report],
    }


def memory():
    """A batch that fits is found, and what does not fit is said to be so."""
    module = Student(width=4096, batch_size=512, rows=1 << 14)
    trainer = L.Trainer(max_steps=1, logger=False, default_root_dir=FOLDER, **QUIET, **trainer_arguments("mlu", 1))
    found = Tuner(trainer).scale_batch_size(module, mode="power", steps_per_trial=1, init_val=512, max_trials=6)
    return {"found": found, "refused": refused(lambda: torch.empty(1 << 32, device="mlu:0"))[:60]}


def mesh():
    """A pair of sizes is a mesh of cards."""
    strategy = MLUFSDPStrategy(device_mesh=(1, 1), sharding_strategy="HYBRID_SHARD")
    fit(accelerator=MLUAccelerator(), devices=1, strategy=strategy)
    return strategy.kwargs["device_mesh"].device_type


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1")
    register()
    questions = (names, falls, bfloat16, machines, checkpoints, randomness, measures, memory, mesh)
    print(json.dumps({question.__name__: question() for question in questions}))

"""Cambricon MLU cards for PyTorch Lightning.

Either ``Trainer(**trainer_arguments("mlu", devices=8, precision="bf16-mixed"))``, or ``register()`` once and then
``Trainer(accelerator="mlu", devices=8, strategy="ddp", precision="bf16-mixed")``. Written against the public names of
torch_mlu; it needs nothing else but PyTorch 2.4 or later and Lightning 2.6.
"""

from launch.mlu.accelerator import MLUAccelerator
from launch.mlu.checkpoints import MLUCheckpointIO, to_cpu
from launch.mlu.checks import check_trainer
from launch.mlu.errors import MLUError
from launch.mlu.memory import is_out_of_memory, teach_lightning
from launch.mlu.precision import make_precision
from launch.mlu.profiler import MLUProfiler
from launch.mlu.registry import register
from launch.mlu.resolver import choose_accelerator, trainer_arguments
from launch.mlu.rng import get_rng_state, set_rng_state
from launch.mlu.strategies import MLUDDPStrategy, MLUFSDPStrategy, MLUModelParallelStrategy, SingleMLUStrategy
from launch.mlu.throughput import MLUThroughputMonitor, synchronize

__all__ = [
    "MLUAccelerator",
    "MLUCheckpointIO",
    "MLUDDPStrategy",
    "MLUError",
    "MLUFSDPStrategy",
    "MLUModelParallelStrategy",
    "MLUProfiler",
    "MLUThroughputMonitor",
    "SingleMLUStrategy",
    "check_trainer",
    "choose_accelerator",
    "get_rng_state",
    "is_out_of_memory",
    "make_precision",
    "register",
    "set_rng_state",
    "synchronize",
    "teach_lightning",
    "to_cpu",
    "trainer_arguments",
]

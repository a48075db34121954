"""Lightning's strategies on MLU cards. Each behaves as its base wherever its device is no MLU.

What Lightning asks of CUDA by name is said here for the card: the process group and its device, barriers,
communication hooks. Tensors of a card travel over CNCL and those of the CPU, metrics among them, over gloo.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.distributed import _init_dist_connection
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.precision import FSDPPrecision, Precision
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from torch import Tensor
from torch.distributed import ReduceOp
from torch.nn import Module
from torch.nn.parallel import DistributedDataParallel

from launch.mlu.accelerator import MLUAccelerator
from launch.mlu.errors import MLUError
from launch.mlu.precision import ShardedPrecision, on_card

_Base: Any = object  # what the mixins stand before: a strategy of Lightning

__all__ = ["BACKEND", "MLUDDPStrategy", "MLUFSDPStrategy", "MLUModelParallelStrategy", "SingleMLUStrategy"]

BACKEND = "cpu:gloo,mlu:cncl"


class _CardPrecision(_Base):
    """Precision that Lightning made for CUDA becomes the card's."""

    @property
    def precision_plugin(self) -> Precision:
        """The plugin that is in use."""
        return super().precision_plugin

    @precision_plugin.setter
    def precision_plugin(self, plugin: Precision | None) -> None:
        self._precision_plugin = on_card(plugin) if isinstance(self._accelerator, MLUAccelerator) else plugin


class _ManyCards(_Base):
    """One process per card: how they meet, wait for each other and reduce."""

    @property
    def is_on_card(self) -> bool:
        """Whether the strategy's device is an MLU."""
        return self.root_device.type == "mlu"

    def setup_environment(self) -> None:
        """Connect the processes before the base does, which then finds it done.

        The base hands the device to PyTorch's process group; PyTorch 2.4 takes none but CUDA's there.
        """
        if self.is_on_card:
            assert self.accelerator is not None
            assert self.cluster_environment is not None
            self.set_world_ranks()
            self.accelerator.setup_device(self.root_device)
            self._process_group_backend = self._get_process_group_backend()
            _init_dist_connection(self.cluster_environment, self._process_group_backend, timeout=self._timeout)
        super().setup_environment()

    def _get_process_group_backend(self) -> str:
        if not self.is_on_card:
            return super()._get_process_group_backend()
        backend = self._process_group_backend or BACKEND
        if "cncl" not in backend:
            raise MLUError(f"process_group_backend={backend} moves nothing of an MLU. Use {BACKEND}.")
        return backend

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """Wait for all ranks; CNCL must be told by which card, or takes one by the number of the rank."""
        if self.is_on_card and torch.distributed.is_initialized():
            torch.distributed.barrier(device_ids=[self.root_device.index])
        else:
            super().barrier(*args, **kwargs)

    def reduce(self, tensor: Any, group: Any = None, reduce_op: ReduceOp | str | None = "mean") -> Any:
        """``tensor`` over all ranks; a mean is the sum, divided in floating point.

        CNCL rounds the mean of whole numbers down, and gloo, which carries the CPU's, knows no mean.
        """
        names = ("mean", "avg")
        is_mean = reduce_op.lower() in names if isinstance(reduce_op, str) else reduce_op == ReduceOp.AVG
        if not (self.is_on_card and is_mean and isinstance(tensor, Tensor) and torch.distributed.is_initialized()):
            return super().reduce(tensor, group, reduce_op)
        total = tensor if tensor.is_floating_point() else tensor.float()
        torch.distributed.all_reduce(total, group=group)
        return total.div_(torch.distributed.get_world_size(group))


class SingleMLUStrategy(_CardPrecision, SingleDeviceStrategy):  # type: ignore[misc]
    """One card, one process."""

    strategy_name = "mlu"

    def __init__(self, device: torch.device | str | int = 0, **kwargs: Any) -> None:
        super().__init__(device=torch.device("mlu", device) if isinstance(device, int) else device, **kwargs)


class MLUDDPStrategy(_CardPrecision, _ManyCards, DDPStrategy):  # type: ignore[misc]
    """Gradients averaged over the cards by DistributedDataParallel."""

    strategy_name = "mlu_ddp"

    def _configure_launcher(self) -> None:
        if self.is_on_card and "fork" in self._start_method:
            raise MLUError(
                f"start_method={self._start_method}: a forked process cannot use an MLU that its parent has opened. "
                "Use strategy='ddp' or 'ddp_spawn'."
            )
        super()._configure_launcher()

    def _setup_model(self, model: Module) -> DistributedDataParallel:
        if not self.is_on_card:
            return super()._setup_model(model)
        # Lightning sets up on a side stream of CUDA, which its graphs need; here it is the stream of the steps.
        return DistributedDataParallel(module=model, device_ids=[self.root_device.index], **self._ddp_kwargs)

    def _register_ddp_hooks(self) -> None:
        if not self.is_on_card:
            super()._register_ddp_hooks()
        elif self._ddp_comm_hook is not None:
            from lightning.pytorch.overrides.distributed import _register_ddp_comm_hook

            _register_ddp_comm_hook(
                model=self.model,  # type: ignore[arg-type]
                ddp_comm_state=self._ddp_comm_state,
                ddp_comm_hook=self._ddp_comm_hook,
                ddp_comm_wrapper=self._ddp_comm_wrapper,
            )


class MLUFSDPStrategy(_ManyCards, FSDPStrategy):  # type: ignore[misc]
    """Parameters, gradients and optimizer state sharded over the cards by FullyShardedDataParallel."""

    strategy_name = "mlu_fsdp"
    _sharded: Any = None  # what the module was wrapped into

    @property
    def precision_plugin(self) -> FSDPPrecision:
        """Lightning's precision for FSDP, on the device of the accelerator."""
        return super().precision_plugin

    @precision_plugin.setter
    def precision_plugin(self, plugin: Precision | None) -> None:
        kind = self._accelerator.name() if self._accelerator is not None else None
        if kind is not None and isinstance(plugin, FSDPPrecision) and not isinstance(plugin, ShardedPrecision):
            plugin = ShardedPrecision(plugin.precision, kind)  # type: ignore[arg-type]
        plugin = on_card(plugin) if isinstance(self._accelerator, MLUAccelerator) else plugin
        FSDPStrategy.precision_plugin.fset(self, plugin)  # type: ignore[attr-defined]

    def setup_environment(self) -> None:
        """As the base, with a device mesh of the cards where one was given as a pair of sizes."""
        mesh = self.kwargs.pop("device_mesh", None) if self.is_on_card else None
        super().setup_environment()
        if isinstance(mesh, tuple):
            from torch.distributed.device_mesh import init_device_mesh

            mesh = init_device_mesh("mlu", mesh)
        if mesh is not None:
            self.kwargs["device_mesh"] = mesh

    def _setup_model(self, model: Module) -> Module:
        if self._sharded is not None and self._sharded.module is model:
            return self._sharded  # validated after it was trained: its parameters are shards already
        self._sharded = self._shard(model)
        return self._sharded

    def _shard(self, model: Module) -> Any:
        if self.is_on_card:  # a tensor of the CPU cannot become one of the card in place, as FSDP would have it
            model = model.to(self.root_device)
        scalars = [parameter for parameter in model.parameters() if parameter.dim() == 0]
        if scalars:  # FSDP takes none: each rank keeps them whole, and their gradients are averaged here
            self.kwargs["ignored_states"] = [*(self.kwargs.get("ignored_states") or []), *scalars]
            for parameter in scalars:
                if parameter.requires_grad:
                    parameter.register_post_accumulate_grad_hook(_average_gradient)
        return super()._setup_model(model)

    def teardown(self) -> None:
        """As the base, but layers for synchronised statistics stay: FSDP knows no others to gather parameters into."""
        layer_sync, self._layer_sync = self._layer_sync, None
        super().teardown()
        self._layer_sync = layer_sync

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole network on rank 0 and nothing on others; for a sharded checkpoint the base's."""
        if not self.is_on_card or self._state_dict_type != "full":
            return super().lightning_module_state_dict()
        with self._gathered():
            return self.model.state_dict()  # type: ignore[union-attr]

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """The whole state of ``optimizer`` on rank 0 and nothing on others; for a sharded checkpoint the base's."""
        if not self.is_on_card or self._state_dict_type != "full":
            return super().optimizer_state(optimizer)
        from torch.distributed.fsdp import FullyShardedDataParallel, OptimStateKeyType

        assert self.model is not None
        with self._gathered():
            plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
            state: dict[str, Any] = FullyShardedDataParallel.optim_state_dict(self.model, plain)
        if self.global_rank == 0:
            return FullyShardedDataParallel.rekey_optim_state_dict(state, OptimStateKeyType.PARAM_ID, self.model)
        return state

    def _gathered(self) -> AbstractContextManager[Any]:
        """States whole, and on the card: FSDP would have them change to the CPU in place, which they cannot."""
        from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType
        from torch.distributed.fsdp.api import FullOptimStateDictConfig, FullStateDictConfig

        assert self.model is not None
        return FullyShardedDataParallel.state_dict_type(
            self.model,
            StateDictType.FULL_STATE_DICT,
            FullStateDictConfig(offload_to_cpu=False, rank0_only=True),
            FullOptimStateDictConfig(offload_to_cpu=False, rank0_only=True),
        )

    def setup(self, trainer: L.Trainer) -> None:
        """As the base; then clipping knows the root of what was sharded."""
        super().setup(trainer)
        if isinstance(self.precision_plugin, ShardedPrecision):
            self.precision_plugin.root = self.model


class MLUModelParallelStrategy(_CardPrecision, _ManyCards, ModelParallelStrategy):  # type: ignore[misc]
    """FSDP2: what a module's ``configure_model`` shards with ``fully_shard``; PyTorch 2.6 or later.

    Args:
        data_parallel_size: over how many cards parameters are sharded; ``"auto"`` is all. Lightning's own ``"auto"``
            is the number of machines, which on one machine shards nothing.
        tensor_parallel_size: over how many cards a layer is split; ``"auto"`` is 1.
        save_distributed_checkpoint: a folder of shards; False gathers one file, as the other strategies write.
    """

    strategy_name = "mlu_fsdp2"

    def __init__(
        self,
        data_parallel_size: int | str = "auto",
        tensor_parallel_size: int | str = "auto",
        save_distributed_checkpoint: bool = False,
        **kwargs: Any,
    ) -> None:
        if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
            raise MLUError(f"FSDP2 needs PyTorch 2.6 or later, and this is {torch.__version__}. Use ddp or fsdp.")
        super().__init__(
            data_parallel_size,  # type: ignore[arg-type]
            tensor_parallel_size,  # type: ignore[arg-type]
            save_distributed_checkpoint,
            **kwargs,
        )

    def setup_environment(self) -> None:
        """Sizes that use every card, and the module on the card before ``configure_model`` shards it."""
        world_size = self.num_nodes * self.num_processes
        if self._tensor_parallel_size == "auto":
            self._tensor_parallel_size = 1
        if self._data_parallel_size == "auto":
            self._data_parallel_size = world_size // int(self._tensor_parallel_size)
        super().setup_environment()
        if self.is_on_card:
            assert self.lightning_module is not None
            self.lightning_module.to(self.root_device)


def _average_gradient(parameter: Tensor) -> None:
    if parameter.grad is not None:
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= torch.distributed.get_world_size()

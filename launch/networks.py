"""How the networks of a stage compute: compiled, or with activations computed twice. Neither changes what they are."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import nn

from anchor.errors import ConfigError
from anchor.models.recompute import recompute_activations
from launch.accelerators import Machine

__all__ = ["CompileNetworks", "explain_failure", "prepare_networks"]

COMPILERS = ("g++", "clang++", "c++")


def prepare_networks(module: L.LightningModule, config: Mapping[str, Any], machine: Machine) -> None:
    """Apply ``activation_checkpointing`` to the networks of ``module``, and see that ``compile`` is possible.

    Raises:
        ConfigError: both are wanted, or there is no compiler.
    """
    compiles, recomputes = config.get("compile", False), config.get("activation_checkpointing", False)
    for key, value in (("compile", compiles), ("activation_checkpointing", recomputes)):
        if not isinstance(value, bool):
            raise ConfigError(f"{key}={value} is neither true nor false.")
    if compiles and recomputes:
        raise ConfigError(
            "compile=true and activation_checkpointing=true exclude each other: a compiled network decides by itself "
            "what it keeps. Leave one of them out."
        )
    net, judge = module.net, getattr(module, "expert", None)
    if recomputes:
        for network in (net, judge):
            if network is not None:
                recompute_activations(network)  # type: ignore[arg-type]
    if compiles:
        _check_compiler(machine)


class CompileNetworks(Callback):
    """Compile what computes when training begins, in place: checkpoints keep their names.

    No earlier: the compiler takes no notice of a network that first ran while its operations were counted.
    """

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The network, the discriminator, and the eye of the judge; it hears without gradients, which costs little."""
        judge = getattr(pl_module, "expert", None)
        for part in (pl_module.net, getattr(pl_module, "discriminator", None), getattr(judge, "mouth_encoder", None)):
            if isinstance(part, nn.Module):
                part.compile()


def _check_compiler(machine: Machine) -> None:
    if machine.name == "cpu":
        named = os.environ.get("CXX")
        if not any(shutil.which(name) for name in ([named] if named else COMPILERS)):
            raise ConfigError(
                f"compile=true needs a C++ compiler, and {named or 'none'} is here: apt-get install -y g++, "
                "or leave compile out."
            )
    elif machine.name == "cuda" and importlib.util.find_spec("triton") is None:
        raise ConfigError("compile=true needs the package triton on CUDA: pip install triton, or leave compile out.")


def explain_failure(error: BaseException) -> str | None:
    """A sentence for what only the first step can show: an operation without a deterministic kernel, a failed compiler.

    None for every other error.
    """
    text = " ".join(str(error).split())
    if "does not have a deterministic implementation" in text:
        name = text.partition(" does not have")[0]
        return (
            f"trainer.deterministic=true: {name} has no deterministic kernel on this device. "
            "Use trainer.deterministic=warn to be told and go on, or false."
        )
    if type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
        return f"compile=true: the networks cannot be compiled here ({text[:200]}). Leave compile out."
    return None

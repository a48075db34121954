"""Items that run the networks that will be trained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from launch.mlu_qualify.card import images, mlu, small_net
from launch.mlu_qualify.outcome import Scene, item

STEPS, WARM_UP = 6, 2
NO_FALLBACK = {"ENABLE_FALLBACK_TO_CPU": "0"}  # torch_mlu then raises where it would compute on the CPU


def load_networks(scene: Scene) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Networks by name with inputs for one step: those that the scene makes, else a small one of our own."""
    return scene.make_networks() if scene.make_networks else {"small": (small_net(), (images(),))}


def step(net: nn.Module, inputs: tuple[Tensor, ...], optimizer: Any, dtype: torch.dtype | None) -> float:
    """One step of training on a loss that reaches every weight; returns it."""
    optimizer.zero_grad()
    with torch.autocast("mlu", dtype=dtype) if dtype else nullcontext():
        found = list(_tensors(net(*inputs)))
        loss = torch.stack([value.float().square().mean() for value in found]).sum()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    else:
        for part in value:
            yield from _tensors(part)


def _step_each(scene: Scene, dtype: torch.dtype | None) -> list[str]:
    names = []
    for name, (net, inputs) in load_networks(scene).items():
        net.to("mlu")
        optimizer = torch.optim.AdamW(net.parameters(), 1e-4)
        try:
            loss = step(net, tuple(value.to("mlu") for value in inputs), optimizer, dtype)
        except (RuntimeError, NotImplementedError) as error:
            raise RuntimeError(f"{name}: {str(error).splitlines()[0]}") from error
        assert loss == loss, f"{name}: the loss is not a number"
        names.append(name)
    return names


@item("operators", "one step of each network with the fall to the CPU forbidden", timeout_s=300, variables=NO_FALLBACK)
def operators(scene: Scene) -> str:
    """Steps in float32; a simulated card counts the operators that a real one needs."""
    if not scene.is_simulated:
        return f"no fall to the CPU: {', '.join(_step_each(scene, None))}"
    from torch_mlu import simulation

    with simulation.count_operators() as counts:
        names = _step_each(scene, None)
    return f"{len(counts)} operators in {', '.join(names)}; simulated: not which a card lacks"


@item("operators in 16 bits", "the same under autocast", timeout_s=300, variables=NO_FALLBACK)
def operators_in_half(scene: Scene) -> str:
    """Steps under autocast in bfloat16 where the card has it, and in float16."""
    dtypes = [torch.float16, *([torch.bfloat16] if mlu().is_bf16_supported() else [])]
    for dtype in dtypes:
        names = _step_each(scene, dtype)
    return f"{', '.join(str(dtype).removeprefix('torch.') for dtype in dtypes)}: {', '.join(names)}"


def samples_per_second(net: nn.Module, inputs: tuple[Tensor, ...], device: torch.device) -> float:
    """Samples that one process trains on in a second, float32, AdamW."""
    inputs = tuple(value.to(device) for value in inputs)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-4)
    for index in range(WARM_UP + STEPS):
        if index == WARM_UP:
            mlu().synchronize(device)
            start = time.perf_counter()
        step(net, inputs, optimizer, None)
    mlu().synchronize(device)
    return STEPS * len(inputs[0]) / (time.perf_counter() - start)


@item("throughput", "samples a second of each network on one card, float32", timeout_s=600)
def throughput(scene: Scene) -> str:
    """One run after a warm-up: to compare cards and versions roughly."""
    figures = []
    for name, (net, inputs) in load_networks(scene).items():
        rate = samples_per_second(net.to("mlu"), inputs, torch.device("mlu", 0))
        figures.append(f"{name} {rate:.0f}")
    return f"{', '.join(figures)} samples/s{' (of the CPU beneath)' if scene.is_simulated else ''}"

"""The operators of YuNet's and SCRFD's ONNX graphs in torch, each made for one node from its attributes.

A maker takes the node's attributes and its number of outputs, and gives a function of the node's inputs. Inputs named
in ``HOST_INPUTS`` arrive as numpy arrays, because they say how to compute and not on what; all others are tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DEVICE_OPERATORS", "HOST_INPUTS", "UnknownFormError"]

Attributes = dict[str, Any]
Operator = Callable[..., Any]

HOST_INPUTS = {
    "Clip": frozenset({1, 2}),
    "Reshape": frozenset({1}),
    "Resize": frozenset({1, 2, 3}),
    "Split": frozenset({1}),
}


class UnknownFormError(Exception):
    """A graph has what is not known here; the message names it."""


def _refuse(attributes: Attributes, kind: str, **allowed: object) -> None:
    """Say which attribute of a ``kind`` is not the one ``allowed``."""
    for name, value in allowed.items():
        got = attributes.get(name, value)
        got = got.decode() if isinstance(got, bytes) else got
        if got != value:
            raise UnknownFormError(f"a {kind} with {name}={got}")


def _conv(attributes: Attributes, _: int) -> Operator:
    _refuse(attributes, "Conv", auto_pad="NOTSET")
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    strides, spread = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    groups = attributes.get("group", 1)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if (top, left) == (bottom, right):
            return F.conv2d(x, weight, bias, strides, [top, left], spread, groups)
        return F.conv2d(F.pad(x, [left, right, top, bottom]), weight, bias, strides, 0, spread, groups)

    return run


def _window(attributes: Attributes, kind: str) -> tuple[list[int], list[int], list[int], bool]:
    """Kernel, strides, padding and whether the last window may reach out."""
    _refuse(attributes, kind, auto_pad="NOTSET")
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right):
        raise UnknownFormError(f"a {kind} with uneven pads")
    return attributes["kernel_shape"], attributes.get("strides", [1, 1]), [top, left], bool(attributes.get("ceil_mode"))


def _max_pool(attributes: Attributes, _: int) -> Operator:
    kernel, strides, padding, is_ceil = _window(attributes, "MaxPool")
    spread = attributes.get("dilations", [1, 1])
    return lambda x: F.max_pool2d(x, kernel, strides, padding, spread, is_ceil)


def _average_pool(attributes: Attributes, _: int) -> Operator:
    kernel, strides, padding, is_ceil = _window(attributes, "AveragePool")
    _refuse(attributes, "AveragePool", dilations=[1, 1])
    counts_padding = bool(attributes.get("count_include_pad", 0))
    return lambda x: F.avg_pool2d(x, kernel, strides, padding, is_ceil, counts_padding)


def _batch_norm(attributes: Attributes, _: int) -> Operator:
    _refuse(attributes, "BatchNormalization", training_mode=0)
    epsilon = attributes.get("epsilon", 1e-5)
    return lambda x, weight, bias, mean, var: F.batch_norm(x, mean, var, weight, bias, eps=epsilon)


def _resize(attributes: Attributes, _: int) -> Operator:
    """To the nearest place before."""
    given = {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor", **attributes}
    _refuse(given, "Resize", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")

    def run(x: Tensor, _: np.ndarray | None, scales: np.ndarray | None, sizes: np.ndarray | None = None) -> Tensor:
        if sizes is not None and sizes.size:
            size = [int(side) for side in sizes[2:]]
        else:
            assert scales is not None
            size = [int(np.floor(side * scale)) for side, scale in zip(x.shape[2:], scales[2:], strict=True)]
        return F.interpolate(x, size=size, mode="nearest")

    return run


def _clip(attributes: Attributes, _: int) -> Operator:
    least, most = attributes.get("min"), attributes.get("max")  # attributes until opset 10, inputs since

    def run(x: Tensor, low: np.ndarray | None = None, high: np.ndarray | None = None) -> Tensor:
        return x.clamp(least if low is None else float(low), most if high is None else float(high))

    return run


def _split(attributes: Attributes, num_outputs: int) -> Operator:
    axis, fixed = attributes.get("axis", 0), attributes.get("split")

    def run(x: Tensor, sizes: np.ndarray | None = None) -> tuple[Tensor, ...]:
        parts = fixed if sizes is None else sizes.tolist()
        return x.split(parts or -(-x.shape[axis] // num_outputs), axis)

    return run


def _reshape(attributes: Attributes, _: int) -> Operator:
    _refuse(attributes, "Reshape", allowzero=0)

    def run(x: Tensor, shape: np.ndarray) -> Tensor:
        return x.reshape([x.shape[i] if side == 0 else side for i, side in enumerate(shape.tolist())])

    return run


def _fold(operator: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Attributes, int], Operator]:
    """An operator of any number of inputs, from one of two."""

    def run(first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = operator(first, other)
        return first

    return lambda attributes, _: run


def _plain(operator: Operator) -> Callable[[Attributes, int], Operator]:
    return lambda attributes, _: operator


DEVICE_OPERATORS: dict[str, Callable[[Attributes, int], Operator]] = {
    "Add": _plain(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": lambda attributes, _: lambda *parts: torch.cat(parts, attributes["axis"]),
    "Conv": _conv,
    "Div": _plain(torch.div),
    "Identity": _plain(lambda x: x),
    "Max": _fold(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _fold(torch.minimum),
    "Mul": _plain(torch.mul),
    "PRelu": _plain(lambda x, slope: torch.where(x < 0, x * slope, x)),
    "Relu": _plain(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _plain(torch.sigmoid),
    "Split": _split,
    "Sqrt": _plain(torch.sqrt),
    "Sub": _plain(torch.sub),
    "Transpose": lambda attributes, _: lambda x: x.permute(attributes["perm"]),
}

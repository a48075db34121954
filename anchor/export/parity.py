"""Whether an exported network still computes what the checkpoint does."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from anchor.errors import CheckpointError
from anchor.models.onnx_generator import open_session
from anchor.models.sizes import example_inputs

__all__ = ["ONNX_BOUND", "check_graph", "check_weights"]

# The largest difference, of outputs in [-1, 1]; a step of a byte is 0.0078. Folded norms and another order of sums
# left 2e-9 to 8e-7 in the networks of conf/model, fresh and trained.
ONNX_BOUND = 1e-4
BATCH = 3  # another one than the graph was traced with


def check_weights(net: nn.Module, again: nn.Module, image_size: int) -> None:
    """See that two networks answer a random input with the same bits.

    Raises:
        CheckpointError: they do not.
    """
    for ours, theirs in zip(_answer(net, image_size), _answer(again, image_size), strict=True):
        if not torch.equal(ours, theirs):
            raise CheckpointError(
                f"model.safetensors draws otherwise than its checkpoint, by {_difference(ours, theirs):.1e}; nothing "
                "was written. If the difference is nan, the training diverged: give an earlier checkpoint."
            )


def check_graph(net: nn.Module, path: Path, image_size: int) -> float:
    """The largest difference between ``net`` and the ONNX file at ``path`` on a random input.

    Scores without a range are compared relative to the largest.

    Raises:
        CheckpointError: it is above :data:`ONNX_BOUND`, or no number.
    """
    session, _ = open_session(path)
    inputs = example_inputs(net, BATCH, image_size, seed=1)
    names = [port.name for port in session.get_inputs()]
    feed = {name: tensor.contiguous().numpy() for name, tensor in zip(names, inputs, strict=True)}
    worst = 0.0
    for ours, theirs in zip(_answer(net, image_size), session.run(None, feed), strict=True):
        difference = _difference(ours, torch.from_numpy(theirs)) / max(1.0, float(ours.abs().max()))
        if not difference <= ONNX_BOUND:
            raise CheckpointError(
                f"model.onnx differs from its checkpoint by {difference:.1e}, and {ONNX_BOUND:.0e} is the bound; "
                "nothing was written. If it is nan, the training diverged: give an earlier checkpoint."
            )
        worst = max(worst, difference)
    return worst


@torch.inference_mode()
def _answer(net: nn.Module, image_size: int) -> tuple[Tensor, ...]:
    outputs = net(*example_inputs(net, BATCH, image_size, seed=1))
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max())

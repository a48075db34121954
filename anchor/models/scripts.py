"""A TorchScript is a small program: it is looked through before it may run, and may compute, and nothing else."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from anchor.errors import CheckpointError

__all__ = ["is_script", "load_script"]

MAX_CODE_BYTES = 64 * 2**20  # of source text, unpacked: Inception has 0.2 MB
# What would run while it is loaded or beside `forward`; the text of a class can give these names in no other way.
UNASKED = re.compile(r"__setstate__|__forward_(?:pre_)?hooks__")
# Operators: `aten::save` writes any file, `aten::from_file` maps any; a call that is left in a graph hides its doing.
SPACES = ("aten", "prim", "quantized", "torchvision")
REACHING = {
    "aten::save", "aten::from_file", "prim::CallFunction", "prim::CallMethod", "prim::PythonOp", "prim::fork",
    "prim::rpc_async", "prim::rpc_remote", "prim::rpc_sync",
}  # fmt: skip


def is_script(path: str | Path) -> bool:
    """Whether the file at ``path`` is an archive with TorchScript's code in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except Exception:  # a forged archive can raise anything
        return False


def load_script(path: str | Path) -> Any:
    """The TorchScript at ``path``, on the CPU and in eval mode. Nothing of it has run yet.

    Its text may be written in many ways: what is judged is the graph that it was compiled to, with every call inlined.

    Raises:
        CheckpointError: it is no TorchScript, or has an operator that reaches a file, a process or a network.
    """
    try:
        _check_text(path)
        net = torch.jit.load(str(path), map_location="cpu").eval()
        kinds = sorted(set(_kinds(net.inlined_graph)))
    except CheckpointError:
        raise
    except Exception as error:  # a forged archive can raise anything
        reason = (str(error).strip().splitlines() or ["unreadable"])[0][:120]
        raise CheckpointError(f"{path}: no TorchScript that torch can load ({reason}).") from None
    for kind in kinds:
        if kind in REACHING or kind.partition("::")[0] not in SPACES:
            raise CheckpointError(f"{path}: its code has {kind}, which may reach out of the network. It is not run.")
    return net


def _check_text(path: str | Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        sources = [entry for entry in entries if "/code/" in entry.filename and entry.filename.endswith(".py")]
        if len({entry.filename for entry in entries}) < len(entries):
            raise CheckpointError(f"{path}: two parts of it have one name. It is not loaded.")
        if sum(entry.file_size for entry in sources) > MAX_CODE_BYTES:
            raise CheckpointError(f"{path}: its code has more than {MAX_CODE_BYTES // 2**20} MB. It is not loaded.")
        for entry in sources:
            if found := UNASKED.search(archive.read(entry).decode("utf-8", "replace")):
                raise CheckpointError(f"{path}: its code has {found[0]}, which would run unasked. It is not loaded.")


def _kinds(graph: Any) -> Iterator[str]:
    """The operators of ``graph`` and of every graph within it."""
    for node in graph.nodes():
        yield node.kind()
        for block in node.blocks():
            yield from _kinds(block)
        for name in node.attributeNames():
            if node.kindOf(name) == "g":
                yield from _kinds(node.g(name))
            elif node.kindOf(name) == "gs":
                for inner in node.gs(name):
                    yield from _kinds(inner)

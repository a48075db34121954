"""A detector's ONNX graph as a torch module, for devices that onnxruntime and OpenCV do not know.

It knows the operators that YuNet and SCRFD are made of, and says so where a graph has another. What a graph computes
from shapes alone stays numbers of the host (``onnx.reference`` computes them), so that nothing waits for the device.

A detector's outputs are maps, one value per place of the picture, laid out as rows by the graph's last steps. These
steps are left out here and done for whole batches: exported graphs write a batch of one into them.

Shape suffixes: N pictures, C channels, H W px or places, P places times anchors, K values of a place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from anchor.errors import FaceError
from anchor.faces.operators import DEVICE_OPERATORS, HOST_INPUTS, UnknownFormError

if TYPE_CHECKING:
    import onnx

__all__ = ["Network", "load_network"]

LAYOUT = {"Transpose", "Reshape", "Sigmoid", "Identity"}  # the last steps, from a map to rows
TRANSPOSED = ([0, 2, 3, 1], [2, 3, 0, 1])  # channels last: the second is how SCRFD is exported, with the batch inside
CHECK_PX = 160  # side of the pictures of the check, where the graph does not fix one
TOLERANCE = 1e-3  # x the largest value; float32 sums in another order differ by 1e-5


@dataclass(frozen=True)
class _Head:
    """One output: which map it is, how many values a place has, and whether they pass a sigmoid on the way."""

    map: str
    width: int
    has_sigmoid: bool


@dataclass(frozen=True)
class _Step:
    """One node: what computes it, from what, into what. On the host it takes arrays, else tensors."""

    run: Callable[..., Any]
    inputs: list[str]
    outputs: list[str]
    is_host: bool
    host_inputs: frozenset[int]


class Network(nn.Module):
    """The graph of an ONNX model with one picture as input and rows of places as outputs; its weights are buffers."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        from onnx import numpy_helper

        graph = model.graph
        if not graph.node:
            raise ValueError("an empty graph")  # what protobuf makes of an empty file
        self._constants = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
        inputs = [value for value in graph.input if value.name not in self._constants]
        if len(inputs) != 1:
            raise UnknownFormError(f"{len(inputs)} inputs")
        self._input = inputs[0].name
        dims = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
        self.fixed_size = (dims[2], dims[3]) if len(dims) == 4 and min(dims[2:]) > 0 else None  # height, width in px
        makers = {name: node for node in graph.node for name in node.output}
        self._heads = {value.name: _find_head(value, makers, self._constants) for value in graph.output}
        self._buffers_of: dict[str, str] = {}
        self._steps: list[_Step] = []
        self._build(_needed(graph, makers, [head.map for head in self._heads.values()]), model.opset_import[0].version)

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs, in the order of the graph."""
        return list(self._heads)

    def forward(self, pictures_NCHW: Tensor) -> dict[str, Tensor]:
        """float32 (N, P, K) per output: the rows of every picture."""
        values: dict[str, Any] = {self._input: pictures_NCHW}
        for step in self._steps:
            arguments = [
                self._value(name, values, step.is_host or place in step.host_inputs)
                for place, name in enumerate(step.inputs)
            ]
            result = step.run(*arguments)
            values.update(zip(step.outputs, result if isinstance(result, (tuple, list)) else [result], strict=False))
        return {name: _rows(values[head.map], head) for name, head in self._heads.items()}

    def _value(self, name: str, values: dict[str, Any], is_host: bool) -> Any:
        if not name:
            return None
        if name in values:
            return values[name]
        return self._constants[name] if is_host else getattr(self, self._buffers_of[name])

    def _build(self, nodes: list[onnx.NodeProto], opset: int) -> None:
        from onnx import helper, numpy_helper

        host: set[str] = set()
        for node in nodes:
            attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
            if node.op_type == "Constant":
                self._constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
                continue
            names = [name for name in node.input if name]
            inputs, outputs = list(node.input), list(node.output)
            if all(name in self._constants for name in names):
                self._constants.update(zip(outputs, _reference(node, opset)(*self._arrays(names)), strict=True))
            elif node.op_type == "Shape":
                host.update(outputs)
                self._steps.append(_Step(_shape(attributes), inputs, outputs, True, frozenset()))
            elif all(name in host or name in self._constants for name in names):
                host.update(outputs)
                self._steps.append(_Step(_reference(node, opset), names, outputs, True, frozenset()))
            else:
                if node.op_type not in DEVICE_OPERATORS:
                    raise UnknownFormError(f"the operator {node.op_type}")
                own = HOST_INPUTS.get(node.op_type, frozenset())
                for place, name in enumerate(inputs):
                    if place not in own and name in self._constants and name not in self._buffers_of:
                        self._buffers_of[name] = f"constant{len(self._buffers_of)}"
                        self.register_buffer(self._buffers_of[name], torch.tensor(self._constants[name]))
                run = DEVICE_OPERATORS[node.op_type](attributes, len(outputs))
                self._steps.append(_Step(run, inputs, outputs, False, own))
        large = [name for name in self._buffers_of if self._constants[name].size > 64]
        for name in large:  # the buffer has it; small ones may be asked for on the host as well
            del self._constants[name]

    def _arrays(self, names: list[str]) -> list[np.ndarray]:
        return [self._constants[name] for name in names]


def load_network(path: Path) -> Network:
    """The network of an ONNX file on the CPU, compared once with what onnxruntime makes of the same pictures.

    Raises:
        FaceError: the file is damaged, has an operator that is not known here, or the results differ.
    """
    import onnx

    try:
        network = Network(onnx.load(str(path))).eval()
        difference = _difference(network, path)
    except UnknownFormError as error:
        raise FaceError(
            f"{path} cannot run on a card: its graph has {error}, which is not known. Use faces.device=cpu."
        ) from error
    except Exception as error:  # protobuf, onnx and torch raise many kinds
        raise FaceError(f"{path} is no ONNX model of a detector. Delete it and run `anchor models fetch`.") from error
    if not difference <= TOLERANCE:
        raise FaceError(
            f"{path} cannot run on a card: torch and onnxruntime differ by {difference:.2g} of its largest value. "
            "Use faces.device=cpu, and please report this model."
        )
    return network


def _difference(network: Network, path: Path) -> float:
    """The largest difference of two pictures' outputs in one batch from onnxruntime's, / the largest value."""
    import onnxruntime

    from anchor.faces.insight import session_options

    height, width = network.fixed_size or (CHECK_PX, CHECK_PX)
    pictures_NCHW = np.random.default_rng(0).uniform(-1, 1, (2, 3, height, width)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), session_options(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        ours = network(torch.from_numpy(pictures_NCHW))
    worst = 0.0
    for number in range(2):
        theirs = session.run(network.output_names, {session.get_inputs()[0].name: pictures_NCHW[number : number + 1]})
        for name, expected in zip(network.output_names, theirs, strict=True):
            got_PK = ours[name][number].numpy()
            gap = float(np.abs(got_PK - expected.reshape(got_PK.shape)).max())
            worst = max(worst, gap / max(1.0, float(np.abs(expected).max())))
    return worst


def _find_head(value: Any, makers: dict[str, onnx.NodeProto], constants: dict[str, np.ndarray]) -> _Head:
    """Walk back from an output over the steps that only lay it out, to the map (N, C, H, W) it is made of."""
    from onnx import helper

    name, kinds = value.name, []
    while name in makers and makers[name].op_type in LAYOUT:
        node = makers[name]
        kinds.append(node.op_type)
        if node.op_type == "Transpose":
            order = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}.get("perm")
            if order not in TRANSPOSED:
                raise UnknownFormError(f"an output {value.name} transposed by {order}")
        name = node.input[0]
    width = [dim.dim_value for dim in value.type.tensor_type.shape.dim][-1:]
    if kinds.count("Transpose") != 1 or kinds.count("Reshape") != 1 or not width or width[0] < 1:
        raise UnknownFormError(f"an output {value.name} that is no map of places")
    return _Head(name, width[0], "Sigmoid" in kinds)


def _needed(graph: onnx.GraphProto, makers: dict[str, onnx.NodeProto], wanted: list[str]) -> list[onnx.NodeProto]:
    """The nodes that ``wanted`` depend on, in their order."""
    seen: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += list(makers[name].input) if name in makers else []
    return [node for node in graph.node if seen.intersection(node.output)]


def _rows(map_NCHW: Tensor, head: _Head) -> Tensor:
    rows_NPK = map_NCHW.permute(0, 2, 3, 1).reshape(map_NCHW.shape[0], -1, head.width)
    return rows_NPK.sigmoid() if head.has_sigmoid else rows_NPK


def _reference(node: onnx.NodeProto, opset: int) -> Callable[..., list[np.ndarray]]:
    """``node`` computed on arrays by onnx itself."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    names = [name for name in node.input if name]
    infos = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in dict.fromkeys(names)]
    outputs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output]
    graph = helper.make_graph([node], "one", infos, outputs)
    evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))
    return lambda *arrays: evaluator.run(None, dict(zip(names, arrays, strict=True)))  # type: ignore[return-value]


def _shape(attributes: dict[str, Any]) -> Callable[[Any], np.ndarray]:
    start, end = attributes.get("start", 0), attributes.get("end")
    return lambda value: np.array(value.shape[start:end], np.int64)

"""The ONNX graph as a torch module: the same numbers as onnxruntime, for whole batches."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from tiny_pack import Graph, value

from anchor.errors import FaceError
from anchor.faces.batch import BatchedScrfd
from anchor.faces.network import load_network


def make_pyramid(path, order=(2, 3, 0, 1), batch_of_one=False, resize="asymmetric", extra=None):
    """Random weights in the form in which SCRFD is exported: a pyramid whose sides come from shapes, three strides."""
    g, rng = Graph(), np.random.default_rng(0)

    def conv(x, into, out, stride=1, bias=True):
        weight = rng.normal(0, (2 / (9 * into)) ** 0.5, (out, into, 3, 3))
        more = [rng.normal(0, 0.1, out)] if bias else []
        return g.op("Conv", x, weight, *more, strides=[stride] * 2, pads=[1] * 4, kernel_shape=[3, 3])

    x = g.op("Relu", conv("input.1", 3, 8, 2))
    x = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    levels = []
    for _ in (8, 16, 32):
        down = g.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, count_include_pad=0)
        norm = [rng.uniform(0.5, 1.5, 8), rng.normal(0, 0.1, 8), rng.normal(0, 0.1, 8), rng.uniform(0.5, 1.5, 8)]
        x = g.op("Relu", g.op("Add", g.op("BatchNormalization", conv(x, 8, 8, 2, bias=False), *norm), down))
        levels.append(x)
    if extra:
        levels[0] = g.op(extra, levels[0])
    for lower in (1, 0):
        tail = g.op("Slice", g.op("Shape", levels[lower]), g.ints([2]), g.ints([4]), g.ints([0]))
        head = g.op("Slice", g.op("Shape", levels[lower + 1]), g.ints([0]), g.ints([2]), g.ints([0]))
        sizes = g.op("Concat", head, tail, axis=0)
        how = {"mode": "nearest", "coordinate_transformation_mode": resize, "nearest_mode": "floor"}
        levels[lower] = g.op("Add", levels[lower], g.op("Resize", levels[lower + 1], "", "", sizes, **how))
    outputs = []
    for what, width in (("score", 1), ("bbox", 4), ("kps", 10)):
        for level, stride in zip(levels, (8, 16, 32), strict=True):
            rows = g.op("Mul", conv(level, 8, 2 * width), np.float32(0.5 + stride / 32))
            rows = g.op("Transpose", rows, perm=list(order))
            lead = [1, -1] if batch_of_one else [-1]
            out = f"{what}_{stride}"
            rows = g.op("Reshape", rows, g.ints([*lead, width]), out=None if what == "score" else out)
            if what == "score":
                g.op("Sigmoid", rows, out=out)
            outputs.append(value(out, *lead[:-1], f"n{stride}", width))
    g.save(path, value("input.1", 1, 3, "height", "width"), outputs)
    return path


def run_onnx(path, pictures_NCHW):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    source = session.get_inputs()[0].name
    runs = [session.run(names, {source: pictures_NCHW[i : i + 1]}) for i in range(len(pictures_NCHW))]
    return {name: [run[place] for run in runs] for place, name in enumerate(names)}


def assert_like_onnx(path, pictures_NCHW, atol=1e-4):
    with torch.inference_mode():
        ours = load_network(path)(torch.from_numpy(pictures_NCHW))
    theirs = run_onnx(path, pictures_NCHW)
    assert list(ours) == list(theirs)
    for name, runs in theirs.items():
        for got, expected in zip(ours[name], runs, strict=True):
            np.testing.assert_allclose(got.numpy(), expected.reshape(got.shape), atol=atol)


def noise(count, height, width, low, high):
    return np.random.default_rng(1).uniform(low, high, (count, 3, height, width)).astype(np.float32)


def test_yunet_gives_what_onnxruntime_gives(data_dir):
    assert_like_onnx(data_dir / "models" / "yunet_n_640_640.onnx", noise(2, 640, 640, 0, 255))


def test_a_graph_that_reads_its_shapes_gives_what_onnxruntime_gives(data_dir):
    assert_like_onnx(data_dir / "models" / "yunet_n_dynamic.onnx", noise(3, 192, 320, 0, 255))


@pytest.mark.parametrize(
    ("order", "batch_of_one"), [((2, 3, 0, 1), False), ((0, 2, 3, 1), False), ((0, 2, 3, 1), True)]
)
def test_a_pyramid_of_scrfds_form_keeps_the_pictures_of_a_batch_apart(tmp_path, order, batch_of_one):
    path = make_pyramid(tmp_path / "det.onnx", order, batch_of_one)
    assert_like_onnx(path, noise(3, 96, 160, -1, 1))


def test_the_tiny_pack_gives_what_onnxruntime_gives(models):
    assert_like_onnx(models / "buffalo_l" / "det_10g.onnx", noise(2, 160, 96, -1, 1))


def test_weights_are_buffers_and_shapes_stay_on_the_host(tmp_path):
    network = load_network(make_pyramid(tmp_path / "det.onnx")).to(torch.float64)
    assert {tensor.dtype for tensor in network.buffers()} == {torch.float64}
    assert not list(network.parameters())
    rows = network(torch.zeros(2, 3, 64, 96, dtype=torch.float64))
    assert {name: tuple(tensor.shape) for name, tensor in rows.items() if name.endswith("_8")} == {
        "score_8": (2, 192, 1), "bbox_8": (2, 192, 4), "kps_8": (2, 192, 10),
    }  # fmt: skip
    assert {tensor.dtype for tensor in rows.values()} == {torch.float64}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extra": "Softplus"}, "the operator Softplus"),
        ({"resize": "align_corners"}, "Resize with coordinate_transformation_mode=align_corners"),
        ({"order": (0, 3, 2, 1)}, r"transposed by \[0, 3, 2, 1\]"),
    ],
)
def test_what_is_not_known_is_named(tmp_path, change, words):
    path = make_pyramid(tmp_path / "det.onnx", **change)
    with pytest.raises(FaceError, match=rf"det\.onnx cannot run on a card.*{words}.*faces\.device=cpu"):
        load_network(path)


def test_a_network_without_maps_is_no_detector(models):
    with pytest.raises(FaceError, match="an output fc1 that is no map of places"):
        load_network(models / "buffalo_l" / "2d106det.onnx")


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_damaged_file_is_named(tmp_path, content):
    path = make_pyramid(tmp_path / "det.onnx")
    path.write_bytes(path.read_bytes()[:3000] if content is None else content)
    with pytest.raises(FaceError, match=r"det\.onnx is no ONNX model of a detector"):
        load_network(path)


def test_a_graph_that_torch_computes_otherwise_is_refused(tmp_path, monkeypatch):
    from anchor.faces import operators

    wrong = dict(operators.DEVICE_OPERATORS, Relu=lambda attributes, _: lambda x: x.abs())
    monkeypatch.setattr("anchor.faces.network.DEVICE_OPERATORS", wrong)
    with pytest.raises(FaceError, match=r"torch and onnxruntime differ by [\d.]+ of its largest value"):
        load_network(make_pyramid(tmp_path / "det.onnx"))


def test_a_model_with_another_number_of_outputs_is_no_scrfd(tmp_path):
    path = make_pyramid(tmp_path / "det.onnx")
    model = onnx.load(path)
    del model.graph.output[-1]
    onnx.save(model, tmp_path / "less.onnx")
    with pytest.raises(FaceError, match=r"less\.onnx is no SCRFD model: it has 8 outputs"):
        BatchedScrfd(tmp_path / "less.onnx", torch.device("cpu"), 4)


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes"),
    [
        ("Clip", [np.float32(-0.5), ""], {}),
        ("Clip", ["", np.float32(0.25)], {}),
        ("PRelu", [np.full((3, 1, 1), 0.2)], {}),
        ("Max", [np.float32(0.1), np.float32(0.2)], {}),
        ("Min", [np.float32(0.1), np.float32(0.2)], {}),
        ("Conv", [np.random.default_rng(2).normal(size=(3, 1, 3, 2))], {"group": 3, "pads": [0, 1, 2, 0]}),
        ("Conv", [np.random.default_rng(2).normal(size=(4, 3, 3, 3))], {"dilations": [2, 1], "pads": [2, 1, 2, 1]}),
        ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]}),
        ("AveragePool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "count_include_pad": 1}),
        ("Sqrt", [], {}),
        ("Identity", [], {}),
    ],
)
def test_an_operator_gives_what_onnxruntime_gives(tmp_path, kind, inputs, attributes):
    g = Graph()
    source = g.op("Add", "x", np.float32(1.0)) if kind == "Sqrt" else "x"
    made = g.op(kind, source, *inputs, **attributes)
    channels = 4 if kind == "Conv" and "dilations" in attributes else 3
    rows = g.op("Transpose", made, perm=[0, 2, 3, 1])
    g.op("Reshape", rows, g.ints([-1, channels]), out="y")
    g.save(tmp_path / "one.onnx", value("x", 1, 3, "h", "w"), [value("y", "n", channels)])
    assert_like_onnx(tmp_path / "one.onnx", noise(2, 13, 18, -1, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("Conv", {"auto_pad": "SAME_UPPER"}),
        ("MaxPool", {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}),
        ("AveragePool", {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"}),
    ],
)
def test_a_form_that_is_not_known_is_refused_and_not_guessed(tmp_path, kind, attributes):
    weights = [helper.make_tensor("w", onnx.TensorProto.FLOAT, [3, 3, 2, 2], np.ones(36))] if kind == "Conv" else []
    nodes = [
        helper.make_node(kind, ["x", "w"] if weights else ["x"], ["a"], **attributes),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["b", "s"], ["y"]),
    ]
    shape = helper.make_tensor("s", onnx.TensorProto.INT64, [2], [-1, 3])
    graph = helper.make_graph(nodes, "g", [value("x", 1, 3, "h", "w")], [value("y", "n", 3)], [*weights, shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), tmp_path / "one.onnx")
    with pytest.raises(FaceError, match=f"its graph has a {kind} with"):
        load_network(tmp_path / "one.onnx")

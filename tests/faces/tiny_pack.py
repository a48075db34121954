"""A model pack of insightface's shape that finds red squares: real ONNX networks, read by the real FaceAnalysis.

A "face" is a red square. The networks measure where the red is and how much of it there is, so boxes and points are
right to a fraction of a pixel wherever the square lies, and the reader's geometry and colour order can be checked.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# x, y of eyes, nose and mouth corners from the middle of the square, in units of its side.
FIVE = np.array([[-0.2, -0.15], [0.2, -0.15], [0, 0.05], [-0.15, 0.25], [0.15, 0.25]])
OPENING = 0.25  # x eye distance, of the points below
SIDES = {8: (14, 44), 16: (36, 88), 32: (72, 180)}  # px of squares that each stride finds; neighbours overlap


def marked_points(num_points, eyes, mouth, gaps):
    """Offsets (num_points, 2) from the middle of the square in its side: eyes 0.4 apart, lips OPENING of that apart."""
    points = np.zeros((num_points, 2))
    for corners, x in zip(eyes, (-0.2, 0.2), strict=True):
        points[list(corners)] = [[x - 0.05, -0.15], [x + 0.05, -0.15]]
    angle = 2 * np.pi * np.arange(len(mouth)) / len(mouth)
    points[list(mouth)] = np.stack([-0.15 * np.cos(angle), 0.25 - 0.1 * np.sin(angle)], 1)
    for upper, lower in gaps:
        points[upper, 1], points[lower, 1] = 0.25 - 0.2 * OPENING, 0.25 + 0.2 * OPENING
    return points


POINTS_106 = marked_points(
    106,
    eyes=((35, 39), (89, 93)),
    mouth=(52, 64, 63, 71, 67, 68, 61, 58, 59, 53, 56, 55, 65, 66, 62, 70, 69, 57, 60, 54),
    gaps=((66, 54), (62, 60), (70, 57)),
)
POINTS_68 = marked_points(
    68, eyes=((36, 39), (42, 45)), mouth=range(48, 68), gaps=((61, 67), (62, 66), (63, 65))
)  # fmt: skip


class Graph:
    """A few lines of ONNX at a time."""

    def __init__(self):
        self.nodes, self.weights = [], []

    def const(self, values):
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def op(self, kind, *inputs, out=None, name="", **attributes):
        names = [value if isinstance(value, str) else self.const(value) for value in inputs]
        out = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [out], name=name, **attributes))
        return out

    def ints(self, values):
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.int64), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def save(self, path, source, outputs):
        graph = helper.make_graph(self.nodes, path.stem, [source], outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)

    def redness(self, image):
        """1 where a normalised RGB image is pure red, 0 where it is grey or of another colour: (1, 1, H, W)."""
        mix = self.op("Conv", image, np.array([1, -0.5, -0.5]).reshape(1, 3, 1, 1) / 1.992)
        return self.op("Clip", mix, np.float32(0), np.float32(1))


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def make_detector(path):
    """SCRFD's interface: scores, distances to the box's sides and keypoints per stride, two anchors a place."""
    g = Graph()
    red = g.redness("input.1")
    outputs = {}
    for stride, (least, most) in SIDES.items():
        half = 4 * stride  # the window holds the whole square from the anchor nearest to its middle
        ramp = np.arange(-half, half + 1.0)
        kernels = np.stack(
            [np.ones((len(ramp),) * 2), np.tile(ramp, (len(ramp), 1)), np.tile(ramp[:, None], len(ramp))]
        )
        pads = [half, half, half - stride + 1, half - stride + 1]
        sums = g.op("Conv", red, kernels[:, None], strides=[stride] * 2, pads=pads)
        area, sum_x, sum_y = (f"{name}{stride}" for name in ("area", "sumx", "sumy"))
        g.nodes.append(helper.make_node("Split", [sums, g.ints([1, 1, 1])], [area, sum_x, sum_y], axis=1))
        area = g.op("Add", area, np.float32(1e-3))
        side = g.op("Sqrt", area)
        dx, dy = (g.op("Add", g.op("Div", s, area), np.float32(0.5)) for s in (sum_x, sum_y))  # to the pixel's middle
        way = g.op("Div", g.op("Add", g.op("Mul", dx, dx), g.op("Mul", dy, dy)), np.float32(stride**2))
        sure = g.op("Add", g.op("Mul", way, np.float32(-12)), np.float32(8))
        low = g.op("Mul", g.op("Sub", side, np.float32(least)), np.float32(4))
        high = g.op("Mul", g.op("Sub", np.float32(most), side), np.float32(4))
        score = g.op("Sigmoid", g.op("Min", sure, low, high))
        sides = [
            g.op(kind, g.op("Mul", side, np.float32(0.5 / stride)), g.op("Div", d, np.float32(stride)))
            for kind, d in (("Sub", dx), ("Sub", dy), ("Add", dx), ("Add", dy))
        ]
        points = [
            g.op("Div", g.op("Add", d, g.op("Mul", side, np.float32(offset))), np.float32(stride))
            for five in FIVE
            for d, offset in zip((dx, dy), five, strict=True)
        ]
        for what, parts, width in (
            ("score", [score, g.op("Mul", score, np.float32(0.9))], 1),
            ("bbox", sides * 2, 4),
            ("kps", points * 2, 10),
        ):
            rows = g.op("Transpose", g.op("Concat", *parts, axis=1), perm=[0, 2, 3, 1])
            outputs[what, stride] = value(
                g.op("Reshape", rows, g.ints([-1, width]), out=f"{what}_{stride}"), f"n{stride}", width
            )
    order = [outputs[what, stride] for what in ("score", "bbox", "kps") for stride in SIDES]
    g.save(path, value("input.1", 1, 3, "height", "width"), order)


def make_marker(path, points, first=0, depth=False):
    """A landmark network: input 1x3x192x192 in [0, 255] as 2d106det takes it, output points in [-1, 1] of the crop."""
    g = Graph()
    image = g.op("Sub", "data", np.float32(127.5), name="_minusscalar0")
    image = g.op("Mul", image, np.float32(1 / 128), name="_mulscalar0")
    red = g.redness(image)
    place = np.arange(192.0)
    area = g.op("ReduceSum", red, g.ints([1, 2, 3]), keepdims=0)
    area = g.op("Add", area, np.float32(1e-3))
    x = g.op("Div", g.op("ReduceSum", g.op("Mul", red, place), g.ints([1, 2, 3]), keepdims=0), area)
    y = g.op("Div", g.op("ReduceSum", g.op("Mul", red, place[:, None]), g.ints([1, 2, 3]), keepdims=0), area)
    side = g.op("Sqrt", area)
    parts = [y, side] if depth else [side]
    middle = g.op("Concat", *(g.op("Unsqueeze", part, g.ints([1])) for part in (x, *parts)), axis=1)
    # middle is x, (y,) side: rows of a matrix that gives every coordinate in one product.
    if not depth:
        middle = g.op("Concat", middle, g.op("Unsqueeze", y, g.ints([1])), axis=1)  # x, side, y
    rows = {"x": 0, "side": 2 if depth else 1, "y": 1 if depth else 2}
    width = 3 if depth else 2
    matrix = np.zeros((3, (first + len(points)) * width), np.float32)
    for i, (px, py) in enumerate(points):
        at = (first + i) * width
        matrix[rows["x"], at] = matrix[rows["y"], at + 1] = 1
        matrix[rows["side"], at : at + 2] = px, py
        if depth:
            matrix[rows["side"], at + 2] = px * py
    coordinates = g.op("MatMul", middle, matrix / 96)
    shift = np.ones(matrix.shape[1], np.float32)
    if depth:
        shift[2::3] = 0
    g.op("Sub", coordinates, shift, out="fc1")
    g.save(path, value("data", 1, 3, 192, 192), [value("fc1", 1, matrix.shape[1])])


def make_other(path, side, width):
    """A network for another task, told by its input's size: 96 gender and age, 112 recognition."""
    g = Graph()
    flat = g.op("ReduceMean", "data", axes=[2, 3], keepdims=0)
    g.op("MatMul", flat, np.ones((3, width)), out="fc1")
    g.save(path, value("data", 1, 3, side, side), [value("fc1", 1, width)])


def make_pack(folder):
    """A whole pack in ``folder``, with the files of buffalo_l."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    make_detector(folder / "det_10g.onnx")
    make_marker(folder / "2d106det.onnx", POINTS_106)
    make_marker(folder / "1k3d68.onnx", POINTS_68, first=1103 - 68, depth=True)
    make_other(folder / "genderage.onnx", 96, 3)
    make_other(folder / "w600k_r50.onnx", 112, 512)
    return folder


def red_square(height, width, *squares):
    """A uint8 RGB picture, grey noise with red squares x, y, side in px."""
    rng = np.random.default_rng(0)
    frame = np.repeat(rng.integers(60, 200, (height, width, 1), np.uint8), 3, 2)
    for x, y, side in squares:
        frame[y : y + side, x : x + side] = 255, 0, 0
    return frame

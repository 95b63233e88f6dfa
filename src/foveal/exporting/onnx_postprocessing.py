"""Decoding and NMS as nodes of an ONNX graph, so that a server needs no code of ours.

This says in ONNX's operators what `foveal.detection.decoding.decode` says in arrays. Shapes do not
depend on the numbers: each level gives exactly `top_per_level` candidates, some of which may be
none and have a logit of minus infinity; NMS marks what it keeps, and the best of that are padded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from foveal.detection.box_coding_arrays import LARGEST_LOG_RATIO
from foveal.runtimes.signature import DETECTIONS, INPUT, raw_outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.config import DecodingSettings
    from foveal.detection.anchors import AnchorGrid

OPSET = 18

_LOWEST = float(np.finfo(np.float32).min)
"""NMS looks at candidates above it: at all that have a finite logit."""


def append_postprocessing(
    graph: ir.Graph, grid: AnchorGrid, decoding: DecodingSettings, *, num_classes: int
) -> None:
    """Put decoding and NMS behind a network's raw output.

    Args:
        graph: of the network, with its input and `raw_outputs`; it is changed: its outputs are
            `DETECTIONS` then, boxes in input pixels and clipped to the input.
        grid: the network's anchors.
        decoding: threshold, most candidates of a level, NMS, most detections.
        num_classes: K.
    """
    values = {value.name: value for value in (*graph.inputs, *graph.outputs)}
    names = raw_outputs(len(grid.strides))
    logits, deltas = names[: len(grid.strides)], names[len(grid.strides) :]
    builder = _Builder(graph)
    outputs = _postprocess(
        builder,
        values[INPUT],
        [values[name] for name in logits],
        [values[name] for name in deltas],
        grid=grid,
        decoding=decoding,
        num_classes=num_classes,
    )
    images = values[INPUT].shape
    batch = "batch" if images is None else images[0]
    max_detections = decoding.max_detections
    shapes = ([batch, max_detections, 4], [batch, max_detections], [batch, max_detections], [batch])
    types = (ir.DataType.FLOAT, ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.INT64)
    for value, name, sides, kind in zip(outputs, DETECTIONS, shapes, types, strict=True):
        value.name, value.shape, value.dtype = name, ir.Shape(sides), kind
    graph.outputs[:] = outputs


def postprocessing_model(
    grid: AnchorGrid, decoding: DecodingSettings, *, num_classes: int
) -> ir.Model:
    """Decoding and NMS as a model of their own: raw output in, detections out.

    Its inputs are the network's input, of which only the shape counts, and `raw_outputs`.
    """
    images = ir.val(INPUT, ir.DataType.UINT8, ["batch", "bands", "height", "width"])
    names = raw_outputs(len(grid.strides))
    raw = [
        ir.val(
            name,
            ir.DataType.FLOAT,
            ["batch", f"anchors_{name}", num_classes if name.startswith("logits") else 4],
        )
        for name in names
    ]
    graph = ir.Graph([images, *raw], raw, nodes=[], opset_imports={"": OPSET}, name="detections")
    append_postprocessing(graph, grid, decoding, num_classes=num_classes)
    return ir.Model(graph, ir_version=10, producer_name="foveal")


class _Builder:
    """Appends nodes to a graph, with numbers as constants."""

    def __init__(self, graph: ir.Graph) -> None:
        self._tape = ir.tape.Tape(graph)
        self._constants = 0

    def constant(self, value: Any, kind: type[np.generic]) -> ir.Value:
        self._constants += 1
        name = f"postprocessing_constant_{self._constants}"
        return self._tape.initializer(ir.tensor(np.asarray(value, kind), name=name), name)

    def ints(self, *values: int) -> ir.Value:
        return self.constant(values, np.int64)

    def int_(self, value: int) -> ir.Value:
        return self.constant(value, np.int64)

    def float_(self, value: float) -> ir.Value:
        return self.constant(value, np.float32)

    def op(self, name: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        return self._tape.op(name, inputs, attributes)

    def top(self, values: ir.Value, count: int) -> tuple[ir.Value, ir.Value]:
        """The largest of [B, n], best first: values and indices [B, count]."""
        best, index = self._tape.op_multi_out(
            "TopK",
            (values, self.ints(count)),
            {"axis": 1, "largest": 1, "sorted": 1},
            num_outputs=2,
        )
        return best, index

    def rows(self, values: ir.Value, index: ir.Value) -> ir.Value:
        """Of values [B, n, m] the rows that index [B, k] names in each image: [B, k, m]."""
        return self.op("GatherND", values, self.unsqueeze(index, 2), batch_dims=1)

    def unsqueeze(self, value: ir.Value, *axes: int) -> ir.Value:
        return self.op("Unsqueeze", value, self.ints(*axes))

    def columns(self, values: ir.Value, start: int, end: int) -> ir.Value:
        """Of [B, n, m] what [..., start:end] is."""
        return self.op("Slice", values, self.ints(start), self.ints(end), self.ints(2))


def _postprocess(
    build: _Builder,
    images: ir.Value,
    logits: Sequence[ir.Value],
    deltas: Sequence[ir.Value],
    *,
    grid: AnchorGrid,
    decoding: DecodingSettings,
    num_classes: int,
) -> list[ir.Value]:
    """Boxes [B, M, 4], scores [B, M], labels [B, M] and counts [B]."""
    op, never = build.op, build.float_(-math.inf)
    shape = op("Shape", images)
    height, width = (op("Gather", shape, build.int_(axis), axis=0) for axis in (2, 3))
    levels = []
    for level in range(len(logits)):
        best, label, anchor = _best_of_level(
            build, logits[level], never, top=decoding.top_per_level, num_classes=num_classes
        )
        origin = _anchors(build, anchor, height, width, grid=grid, level=level)
        levels.append((best, label, build.rows(deltas[level], anchor), origin))
    scored, labels, offsets, origins = (
        op("Concat", *parts, axis=1) for parts in zip(*levels, strict=True)
    )
    limit = build.float_(_logit(decoding.score_threshold))
    scored = op("Where", op("Greater", scored, limit), scored, never)
    boxes = _clip(build, _decode(build, offsets, origins), height, width)
    keep = _nms(build, boxes, scored, labels, never, decoding=decoding, num_classes=num_classes)
    remaining = op("Where", keep, scored, never)
    count = min(decoding.max_detections, len(logits) * decoding.top_per_level)
    return _best(
        build, boxes, remaining, labels, count=count, max_detections=decoding.max_detections
    )


def _best_of_level(
    build: _Builder, logits: ir.Value, never: ir.Value, *, top: int, num_classes: int
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """The level's best pairs of anchor and class: logits, labels and anchors [B, top].

    They lie within the best anchors by their best class. A level with fewer anchors is filled up.
    """
    op = build.op
    best = op("ReduceMax", logits, build.ints(2), keepdims=0)
    best, anchor = build.top(op("Pad", best, build.ints(0, 0, 0, top), never), top)
    real = op("Greater", best, never)
    anchor = op("Where", real, anchor, build.int_(0))
    of_best = op("Where", build.unsqueeze(real, 2), build.rows(logits, anchor), never)
    scored, pair = build.top(op("Reshape", of_best, build.ints(0, top * num_classes)), top)
    classes = build.int_(num_classes)
    rank, labels = op("Div", pair, classes), op("Mod", pair, classes)
    return scored, labels, op("GatherElements", anchor, rank, axis=1)


def _anchors(
    build: _Builder,
    index: ir.Value,
    height: ir.Value,
    width: ir.Value,
    *,
    grid: AnchorGrid,
    level: int,
) -> ir.Value:
    """The anchors [B, n, 4] of a level with the indices [B, n], as `AnchorGrid.boxes` has them."""
    op = build.op
    stride, per_location = build.int_(grid.strides[level]), build.int_(grid.per_location)
    one_less = build.int_(grid.strides[level] - 1)
    rows, columns = (op("Div", op("Add", side, one_less), stride) for side in (height, width))
    location, kind = op("Div", index, per_location), op("Mod", index, per_location)

    def centers(cell: ir.Value, side: ir.Value, count: ir.Value) -> ir.Value:
        step = op("Div", side, count) if grid.convention.divided_stride else stride
        step, cell = (op("Cast", part, to=int(ir.DataType.FLOAT)) for part in (step, cell))
        pixels = op("Mul", op("Add", cell, build.float_(grid.convention.offset)), step)
        return build.unsqueeze(pixels, 2)

    y = centers(op("Div", location, columns), height, rows)
    x = centers(op("Mod", location, columns), width, columns)
    shapes = build.constant(grid.at_origin(level), np.float32)
    return op("Add", op("Concat", x, y, x, y, axis=2), op("Gather", shapes, kind, axis=0))


def _decode(build: _Builder, deltas: ir.Value, anchors: ir.Value) -> ir.Value:
    """`decode_boxes`, number for number."""
    op, columns, two = build.op, build.columns, build.float_(2)
    sides = op("Sub", columns(anchors, 2, 4), columns(anchors, 0, 2))
    anchor_centers = op("Add", columns(anchors, 0, 2), op("Div", sides, two))
    growth = op("Exp", op("Min", columns(deltas, 2, 4), build.float_(LARGEST_LOG_RATIO)))
    half = op("Div", op("Mul", growth, sides), two)
    centers = op("Add", op("Mul", columns(deltas, 0, 2), sides), anchor_centers)
    return op("Concat", op("Sub", centers, half), op("Add", centers, half), axis=2)


def _clip(build: _Builder, boxes: ir.Value, height: ir.Value, width: ir.Value) -> ir.Value:
    """Boxes [B, n, 4] cut off at the edges of the input."""
    op = build.op
    ends = [build.unsqueeze(side, 0) for side in (width, height, width, height)]
    limits = op("Cast", op("Concat", *ends, axis=0), to=int(ir.DataType.FLOAT))
    return op("Min", op("Max", boxes, build.float_(0)), limits)


def _nms(
    build: _Builder,
    boxes: ir.Value,
    scored: ir.Value,
    labels: ir.Value,
    never: ir.Value,
    *,
    decoding: DecodingSettings,
    num_classes: int,
) -> ir.Value:
    """What greedy NMS keeps in each class of each image: [B, n] bool."""
    op = build.op
    if decoding.class_agnostic:
        of_class = build.unsqueeze(scored, 1)
    else:
        classes = build.constant(np.arange(num_classes)[None, :, None], np.int64)
        own = op("Equal", build.unsqueeze(labels, 1), classes)
        of_class = op("Where", own, build.unsqueeze(scored, 1), never)
    selected = op(
        "NonMaxSuppression",
        boxes,
        of_class,
        build.ints(decoding.max_detections),
        build.constant([decoding.nms_iou], np.float32),
        build.constant([_LOWEST], np.float32),
    )
    where = op("Gather", selected, build.ints(0, 2), axis=1)  # image and candidate
    none = op("ConstantOfShape", op("Shape", scored), value=ir.tensor(np.zeros(1, np.float32)))
    ones = op("Expand", build.constant([1], np.float32), op("Shape", where, start=0, end=1))
    return op("Greater", op("ScatterND", none, where, ones), build.float_(0))


def _best(
    build: _Builder,
    boxes: ir.Value,
    scored: ir.Value,
    labels: ir.Value,
    *,
    count: int,
    max_detections: int,
) -> list[ir.Value]:
    """The best of what was kept, padded with zeros: boxes, scores, labels and counts."""
    op = build.op
    scored, index = build.top(scored, count)
    real = op("Greater", scored, build.float_(-math.inf))
    outputs = [
        op("Where", build.unsqueeze(real, 2), build.rows(boxes, index), build.float_(0)),
        op("Where", real, op("Sigmoid", scored), build.float_(0)),
        op("Where", real, op("GatherElements", labels, index, axis=1), build.int_(0)),
    ]
    if count < max_detections:
        missing = max_detections - count
        outputs[0] = op("Pad", outputs[0], build.ints(0, 0, 0, 0, missing, 0))
        outputs[1:] = [op("Pad", part, build.ints(0, 0, 0, missing)) for part in outputs[1:]]
    number = op("Cast", real, to=int(ir.DataType.INT64))
    return [*outputs, op("ReduceSum", number, build.ints(1), keepdims=0)]


def _logit(score_threshold: float) -> float:
    if score_threshold <= 0:
        return -math.inf
    return math.log(score_threshold / (1 - score_threshold)) if score_threshold < 1 else math.inf

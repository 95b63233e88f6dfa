"""Decoding and NMS in the graph say what `decode` says, in ONNX Runtime and in OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest

from foveal.config import DecodingSettings, make_settings
from foveal.detection.anchors import AnchorGrid
from foveal.detection.decoding import decode
from foveal.exporting.onnx_postprocessing import postprocessing_model
from foveal.runtimes.openvino_core import shared_core
from foveal.runtimes.signature import DETECTIONS, INPUT, raw_outputs
from foveal.structures import PaddedDetections, RawOutput

GRID = AnchorGrid(sizes=(16.0, 32.0, 64.0), strides=(8, 16, 32))
TORCHVISION = AnchorGrid(**make_settings(preset="torchvision").anchors.model_dump())
USUAL = {"score_threshold": 0.05, "top_per_level": 100, "nms_iou": 0.5, "max_detections": 30}


def outputs(grid: AnchorGrid, num_classes: int, shape: tuple[int, int, int]) -> RawOutput[Any]:
    """Logits of which some are high, and deltas that move and stretch the anchors."""
    batch, height, width = shape
    generator = np.random.default_rng(7)
    logits, deltas = [], []
    for rows, columns in grid.level_sizes(height, width):
        anchors = rows * columns * grid.per_location
        logits.append(generator.normal(-3, 2, (batch, anchors, num_classes)).astype(np.float32))
        deltas.append(generator.normal(0, 0.3, (batch, anchors, 4)).astype(np.float32))
    return RawOutput(tuple(logits), tuple(deltas))


def run_onnx(path: Path, feed: dict[str, Any]) -> PaddedDetections[Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return PaddedDetections(*session.run(list(DETECTIONS), feed))


def run_openvino(path: Path, feed: dict[str, Any]) -> PaddedDetections[Any]:
    core = shared_core()
    compiled = core.compile_model(core.read_model(path), "CPU")
    found = compiled(feed)
    return PaddedDetections(*(found[name] for name in DETECTIONS))


@pytest.mark.parametrize("run", [run_onnx, run_openvino])
@pytest.mark.parametrize(
    ("grid", "num_classes", "shape", "changed"),
    [
        (GRID, 3, (1, 96, 160), {}),
        (GRID, 3, (3, 64, 32), {}),
        (GRID, 1, (2, 64, 64), {"nms_iou": 0.3}),
        (GRID, 91, (2, 64, 96), {"score_threshold": 0.3}),
        (GRID, 4, (2, 64, 96), {"class_agnostic": True}),
        (
            GRID,
            4,
            (2, 64, 96),
            {"score_threshold": 0.0, "max_detections": 400, "top_per_level": 50},
        ),
        (GRID, 4, (2, 64, 96), {"score_threshold": 1.0}),  # nothing is found
        (TORCHVISION, 5, (2, 96, 160), {}),  # where strides follow the feature maps' size
    ],
)
def test_same_as_decode(
    run: Any, grid: AnchorGrid, num_classes: int, shape: Any, changed: Any, tmp_path: Path
) -> None:
    decoding = DecodingSettings(**{**USUAL, **changed})
    raw = outputs(grid, num_classes, shape)
    batch, height, width = shape
    extents = np.tile(np.array([0, 0, width, height], np.float32), (batch, 1))
    wanted = decode(raw, grid.boxes(height, width), extents=extents, **decoding.model_dump())
    path = tmp_path / "detections.onnx"
    onnx_ir.save(postprocessing_model(grid, decoding, num_classes=num_classes), path)
    onnx.checker.check_model(path, full_check=True)
    names = raw_outputs(len(grid.strides))
    feed = {INPUT: np.zeros((batch, 3, height, width), np.uint8)}
    feed |= dict(zip(names, (*raw.logits, *raw.deltas), strict=True))
    found = run(path, feed)
    assert (wanted.counts > 0).all() == (decoding.score_threshold < 1)
    np.testing.assert_array_equal(found.counts, wanted.counts)
    np.testing.assert_array_equal(found.labels, wanted.labels)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3)
    assert [part.dtype for part in found[:4]] == [part.dtype for part in wanted[:4]]

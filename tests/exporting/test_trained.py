"""A trained model beside its exports on real images."""

from __future__ import annotations

from pathlib import Path

import pytest

import foveal
from foveal.checkpoints import model_file
from foveal.exporting import checking
from foveal.exporting.checking import LIMITS
from foveal.exporting.export import ExportTarget, export_model

IMAGES = 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "name", "nms"), [("openvino", "light.xml", False), ("onnx", "light.onnx", True)]
)
def test_the_same_detections(
    target: ExportTarget,
    name: str,
    nms: bool,
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checking, "_TIMED_RUNS", 1)  # its speed is asked of elsewhere
    loaded = model_file.load(shared / "models" / "bccd_light_format1.safetensors")
    check = foveal.read(f"{shared / 'data' / 'bccd'}:test")[:IMAGES]
    report = export_model(loaded, target, tmp_path / name, nms=nms, check=check)
    assert report.is_written
    exact = [row for row in report.agreements if row.precision == "float32"]
    assert len({(row.height, row.width) for row in exact}) == 3
    for row in exact:
        assert row.is_clear
        assert row.problems(LIMITS["float32"]) == []
        assert (row.logits < 1e-3, row.boxes < 0.05, row.fraction) == (True, True, 1)
    assert report.average_precision is not None
    assert report.average_precision.network > 0.5
    # bf16, where it is OpenVINO's own choice, changes a little.
    assert abs(report.average_precision.network - report.average_precision.export) < 0.01

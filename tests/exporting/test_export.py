"""Every kind of export does what the network does, says what it is, and appears whole or not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.exporting.models import (
    CLASSES,
    exported,
    exported_for_one_size,
    noise,
    sharing_conversions,
    small_model,
    small_settings,
)

from foveal.checkpoints.description import Export, from_json
from foveal.data.dataset import Dataset
from foveal.errors import DataError, ModelFileError, SettingsError
from foveal.exporting import checking
from foveal.exporting.export import ExportTarget, export_model
from foveal.exporting.program import ProgramRuntime, read_program
from foveal.inference.opening import open_model, open_network
from foveal.runtimes.base import InputSizes, Runtime
from foveal.structures import PaddedDetections

FILES: list[ExportTarget] = ["onnx", "openvino"]


@cache
def program(nms: bool) -> tuple[Any, str]:
    """The torch.export program and what its file says of it."""
    return read_program(exported("pt2", nms=nms).path)


@cache
def runtime(target: ExportTarget, nms: bool) -> Runtime:
    """The export as it was written, in float32."""
    path = exported(target, nms=nms).path
    if target == "pt2":
        sizes = InputSizes(height=64, width=96, batch=3) if nms else InputSizes()
        return ProgramRuntime(program(nms)[0], sizes, nms=nms)
    precision = "float32" if target == "openvino" else "auto"
    return open_model(path, precision=precision, device="cpu").runtime


@cache
def reference() -> Runtime:
    return open_network(small_model(), device=None, precision="float32").runtime


@pytest.fixture(autouse=True)
def one_conversion() -> Iterator[None]:
    with sharing_conversions():
        yield


@pytest.mark.parametrize("target", [*FILES, "pt2"])
def test_raw_output_of_other_sizes_and_numbers(target: ExportTarget) -> None:
    export = runtime(target, nms=False)
    for batch, height, width in ((1, 128, 64), (3, 96, 160), (2, 64, 64)):
        images = noise(batch, height, width, seed=batch)
        wanted, got = reference()(images), export(images)
        for one, other in zip((*wanted[0], *wanted[1]), (*got[0], *got[1]), strict=True):
            assert other.dtype == np.float32
            np.testing.assert_allclose(other, one, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("target", [*FILES, "pt2"])
def test_detections_of_a_batch_with_different_contents(target: ExportTarget) -> None:
    images = noise(3, seed=5)
    images[1] = 127  # nothing is there
    found = runtime(target, nms=True)(images)
    assert isinstance(found, PaddedDetections)
    alone = checking.compare(
        reference(),
        runtime(target, nms=True),
        images,
        grid=small_model().model.grid,
        decoding=small_model().settings.decoding,
    )
    assert (alone.is_clear, alone.fraction) == (True, 1)
    assert alone.boxes < 0.05
    assert found.counts[0] > 0
    assert found.counts[1] == 0
    assert found.counts[2] > 0
    assert not np.array_equal(found.boxes[0], found.boxes[2])
    empty = np.arange(found.boxes.shape[1]) >= found.counts[:, None]
    for part in found[:3]:
        assert not part[empty].any()


@pytest.mark.parametrize("target", FILES)
@pytest.mark.parametrize("nms", [False, True])
def test_it_predicts_as_the_model_does(target: ExportTarget, nms: bool) -> None:
    opened = open_model(exported(target, nms=nms).path, precision="float32", device="cpu")
    # Of the networks's input size: then there is no padding at whose edge boxes are cut.
    pictures = list(noise(4, seed=9).transpose(0, 2, 3, 1))
    wanted = open_network(small_model(), precision="float32").predictor().detect_many(pictures)
    found = opened.predictor().detect_many(pictures)
    assert sum(map(len, wanted)) > 0
    for one, other in zip(wanted, found, strict=True):
        assert one.names == other.names
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-4)
        np.testing.assert_allclose(other.boxes, one.boxes, atol=0.05)


@pytest.mark.parametrize("target", FILES)
def test_what_the_file_says_of_itself(target: ExportTarget) -> None:
    own = small_model().description
    description = open_model(exported(target, nms=True).path).description
    assert description.card == own.card
    assert description.card.classes == CLASSES
    assert description.settings() == own.settings()
    assert description.record == own.record
    assert description.export is not None
    assert (description.export.precision, description.export.nms) == ("float32", True)
    assert open_model(exported(target).path).description.export.nms is False


def test_what_a_program_says_of_itself() -> None:
    _, text = program(nms=False)
    assert from_json(text, where="test").card.classes == CLASSES


@pytest.mark.slow
def test_a_program_runs_without_foveal(tmp_path: Path) -> None:
    code = f"""
import sys, torch
program = torch.export.load({str(exported("pt2").path)!r}).module()
parts = program(torch.zeros(2, 3, 64, 96, dtype=torch.uint8))
assert [tuple(part.shape) for part in parts][:1] == [(2, 8 * 12 * 9, 3)], parts[0].shape
assert not [name for name in sys.modules if name.startswith("foveal")]
"""
    # -P: the sources are not on the way.
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_no_file_names_folders_of_this_machine() -> None:
    home = str(Path(__file__).parents[2]).encode()
    for target in (*FILES, "pt2"):
        assert home not in exported(target).path.read_bytes()


def test_the_report() -> None:
    report = exported("openvino")
    assert report.is_written
    shapes = [(row.batch, row.height, row.width) for row in report.agreements]
    assert len(set(shapes)) == 3
    assert {batch for batch, *_ in shapes} == {1, 3}
    limits = {"float32": 1e-3, "bf16": 0.03}  # the latter where the processor computes in it
    assert all(row.logits < limits[row.precision] for row in report.agreements)
    assert next(iter(report.seconds)).startswith("PyTorch")
    assert list(report.seconds)[-1].startswith("OpenVINO")
    assert report.average_precision is None


@pytest.mark.parametrize(
    ("target", "name", "nms"),
    [("openvino", "m.xml", False), ("onnx", "m.onnx", True), ("pt2", "m.pt2", False)],
)
def test_distances_in_bins_are_exported(
    target: ExportTarget, name: str, nms: bool, tmp_path: Path
) -> None:
    """What the presets have; PyTorch gives the distributions too, exports the boxes alone."""
    report = export_model(small_model(bins=True), target, tmp_path / name, nms=nms, size=(64, 96))
    assert report.is_written, report.problems
    (exact,) = [row for row in report.agreements if row.precision == "float32"]
    assert exact.detections >= 5
    assert exact.fraction == 1
    assert (exact.logits < 1e-3, exact.boxes < 0.05) == (True, True)


def test_triton_gets_a_folder_in_place_of_an_older_one(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text("older")
    (folder / "1" / "older.onnx").write_text("older")
    report = export_model(small_model(), "triton", folder, size=(64, 96))
    assert report.is_written
    assert [each.name for each in tmp_path.iterdir()] == ["cells"]
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "1/model.onnx",
        "MODEL.md",
        "config.pbtxt",
        "labels.txt",
    ]
    assert (folder / "labels.txt").read_text(encoding="utf-8").splitlines() == list(CLASSES)
    config = (folder / "config.pbtxt").read_text(encoding="utf-8")
    assert 'name: "cells"' in config
    assert "dims: [ 3, 64, 96 ]" in config
    assert 'name: "boxes" data_type: TYPE_FP32 dims: [ 60, 4 ]' in config
    opened = open_model(folder / "1" / "model.onnx")
    assert opened.description.export == Export(nms=True, height=64, width=96)
    assert opened.runtime(noise(3)).boxes.shape == (3, 60, 4)


@pytest.mark.parametrize("target", FILES)
def test_a_fixed_size_refuses_others(target: ExportTarget) -> None:
    report = exported_for_one_size(target)
    assert {(row.height, row.width, row.batch) for row in report.agreements} == {(64, 96, 2)}
    opened = open_model(report.path, device="cpu")
    assert opened.runtime.sizes == InputSizes(height=64, width=96, batch=2)
    assert opened.runtime(noise(2)).logits[0].shape == (2, 864, 3)
    with pytest.raises(SettingsError, match="96 x 64 pixels only"):
        opened.runtime(noise(2, 96, 96))
    with pytest.raises(SettingsError, match="takes 2 images at once, and these are 3"):
        opened.runtime(noise(3))
    # Any number of images is predicted nevertheless.
    pictures = list(noise(3).transpose(0, 2, 3, 1))
    assert len(opened.predictor().detect_many(pictures)) == 3


def test_a_model_that_is_quantized_says_its_only_size() -> None:
    """Images are prepared for it: NNCF compiles it to judge it by them."""
    from foveal.runtimes.openvino import CompiledRuntime
    from foveal.runtimes.openvino_core import shared_core

    compiled = shared_core().compile_model(exported_for_one_size("openvino").path, "CPU")
    assert CompiledRuntime(compiled).sizes == InputSizes(height=64, width=96, batch=2)
    compiled = shared_core().compile_model(exported("openvino").path, "CPU")
    assert CompiledRuntime(compiled).sizes == InputSizes()


@pytest.mark.parametrize("target", FILES)
def test_half_of_the_size(target: ExportTarget) -> None:
    report = exported_for_one_size(target)
    path = report.path
    assert report.is_written
    assert report.export.precision == "float16"
    weights = path.with_suffix(".bin") if target == "openvino" else path
    whole = exported(target).path.with_suffix(weights.suffix)
    assert weights.stat().st_size < 0.65 * whole.stat().st_size
    assert open_model(path).description.export.precision == "float16"


def test_beyond_the_limits_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.xml"
    for older in (path, path.with_suffix(".bin")):
        older.write_text("older")
    limits = checking.Limits(logits=-1.0, boxes=1.0, fraction=0.9)
    monkeypatch.setitem(checking.LIMITS, "float32", limits)
    report = export_model(small_model(), "openvino", path)
    assert not report.is_written
    assert "logits differ by" in report.problems[0]
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        "model.bin": "older",
        "model.xml": "older",
    }


def test_a_failing_converter_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.exporting import openvino

    def fail(model: Any, path: Path, *_: Any, **__: Any) -> None:
        path.write_text("half")
        raise RuntimeError("no room")

    monkeypatch.setattr(openvino, "write_openvino", fail)
    with pytest.raises(RuntimeError, match="no room"):
        export_model(small_model(), "openvino", tmp_path / "model.xml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("target", "name", "options", "message"),
    [
        ("onnx", "model.xml", {}, r"ends in \.onnx for an export to onnx, such as model\.onnx"),
        ("openvino", "model", {}, r"ends in \.xml"),
        ("triton", "model.onnx", {}, "Triton reads a folder"),
        ("onnx", "m.onnx", {"size": (100, 96)}, "size 100x96: expected .* multiples of 32"),
        ("onnx", "m.onnx", {"size": (0, 0)}, "size 0x0"),
        ("onnx", "m.onnx", {"batch": 0}, "batch 0: expected at least 1"),
        ("triton", "m", {"batch": 2}, "Triton makes the batches"),
        ("pt2", "m.pt2", {"half": True}, "to pt2 does not have half precision"),
        ("pt2", "m.pt2", {"nms": True, "size": (64, 64)}, "--size HxW and --batch N too"),
        ("torchvision", "m.pth", {"nms": True}, "does not have NMS inside"),
        ("torchvision", "m.pth", {"size": (64, 64)}, "does not have a fixed size"),
        ("detectron2", "m.pth", {"half": True}, "does not have half precision"),
    ],
)
def test_refused(
    target: ExportTarget, name: str, options: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        export_model(small_model(), target, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("target", "way"), [("onnx", "Leave --nms out"), ("triton", "Export to onnx")]
)
def test_soft_nms_is_not_put_inside(target: ExportTarget, way: str, tmp_path: Path) -> None:
    loaded = replace(small_model(), settings=small_settings(nms_method="soft_linear"))
    with pytest.raises(SettingsError, match=f"hard NMS only. {way}.*--set decoding.nms_method"):
        export_model(loaded, target, tmp_path / f"model{'.onnx' * (target == 'onnx')}", nms=True)
    assert not list(tmp_path.iterdir())


def test_half_and_8_bits_exclude_each_other(tmp_path: Path) -> None:
    data = Dataset((), CLASSES, tmp_path)
    with pytest.raises(SettingsError, match="--half or --int8"):
        export_model(small_model(), "onnx", tmp_path / "m.onnx", half=True, int8=data)


def test_data_of_no_images_or_other_classes(tmp_path: Path) -> None:
    empty = Dataset((), CLASSES, tmp_path, "cells")
    with pytest.raises(DataError, match="cells: has no images"):
        export_model(small_model(), "onnx", tmp_path / "m.onnx", check=empty)


def test_another_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("mine")
    with pytest.raises(SettingsError, match="is there and is no model for Triton"):
        export_model(small_model(), "triton", tmp_path)


def test_other_versions_of_a_triton_model_are_not_removed(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text("older")
    (tmp_path / "2").mkdir()
    with pytest.raises(SettingsError, match=r"holds more than an export writes \(2\)"):
        export_model(small_model(), "triton", tmp_path)
    assert (tmp_path / "2").is_dir()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ModelFileError, match=r"model\.xml: can't be written \((Not a directory|File exists)\)"
    ):
        export_model(small_model(), "openvino", tmp_path / "file" / "model.xml")


def test_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from foveal.errors import MissingExtraError
    from foveal.exporting import onnx

    monkeypatch.setattr(onnx, "_PACKAGES", ("onnx", "surely_not_there"))
    with pytest.raises(
        MissingExtraError, match=r"surely_not_there.*pip install 'foveal\[export\]'"
    ):
        export_model(small_model(), "onnx", tmp_path / "model.onnx")


def test_weights_for_torchvision(tmp_path: Path) -> None:
    from foveal.checkpoints.model_file import LoadedModel
    from foveal.config import make_settings
    from foveal.models.build import build_model
    from foveal.structures import ModelCard

    settings = make_settings(
        preset="torchvision", overrides=["model.weights=none", "model.backbone=resnet18"]
    )
    loaded = LoadedModel(build_model(settings, 2), settings, ModelCard(("a", "b")))
    report = export_model(loaded, "torchvision", tmp_path / "weights.safetensors")
    assert report.is_written
    assert "resnet18(weights=None)" in report.notes[0]
    assert report.path.is_file()

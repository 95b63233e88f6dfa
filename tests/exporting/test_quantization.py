"""8 bits by NNCF: ranges from images, and float32 where the average precision demands it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest
import torch
from tests.exporting.models import noise, sharing_conversions, small_model
from tests.models.conftest import ThreeConvolutions

from foveal.checkpoints.model_file import LoadedModel
from foveal.data.dataset import Dataset
from foveal.data.synthetic import draw_dataset
from foveal.exporting import export as exporting
from foveal.exporting.export import export_model
from foveal.exporting.network import ExportedNetwork
from foveal.exporting.onnx import network_to_onnx
from foveal.exporting.openvino import network_to_openvino
from foveal.exporting.quantization import (
    Judgment,
    float_layers_onnx,
    float_layers_openvino,
    onnx_attempts,
    openvino_attempts,
)
from foveal.inference.opening import open_model
from foveal.models.retinanet import RetinaNet
from foveal.runtimes.base import InputSizes
from foveal.runtimes.openvino import OpenVINORuntime
from foveal.runtimes.telemetry import import_openvino
from foveal.structures import ModelCard


def with_a_thin_backbone(model: RetinaNet) -> RetinaNet:
    """Each layer's part in the loss is looked at with a model that is compiled for it."""
    thin = copy.deepcopy(model)
    torch.manual_seed(0)
    thin.backbone = ThreeConvolutions(thin.backbone.channels).eval()
    return thin


@pytest.fixture(autouse=True)
def one_conversion() -> Iterator[None]:
    with sharing_conversions():
        yield


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return replace(small_model(), card=ModelCard(("normal", "infected", "platelet")))


@pytest.fixture(scope="module")
def smears(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    folder = tmp_path_factory.mktemp("smears") / "data"
    return draw_dataset(folder, splits={"train": 6, "val": 3}, size=64)


@pytest.mark.parametrize(("target", "name"), [("openvino", "m.xml"), ("onnx", "m.onnx")])
def test_in_8_bits(
    target: Any, name: str, loaded: LoadedModel, smears: dict[str, Dataset], tmp_path: Path
) -> None:
    told: list[str] = []
    report = export_model(
        loaded,
        target,
        tmp_path / name,
        int8=smears["train"],
        check=smears["val"],
        nms=True,
        size=(64, 64),
        say=told.append,
    )
    assert report.is_written
    assert report.export.precision == "int8"
    assert len(report.export.float_layers) <= 2  # of 20
    assert report.average_precision is not None
    assert report.average_precision.images == 3
    assert report.average_precision.network - report.average_precision.export <= 0.002
    assert "calibrating on 6 images, judging by the checked images (3)" in "".join(told)
    assert ("several minutes" in "".join(told)) == bool(report.export.float_layers)
    opened = open_model(report.path, device="cpu")
    assert opened.runtime.precision == "int8"
    assert opened.description.export == report.export
    images = noise(1, 64, 64)
    assert opened.runtime(images).counts[0] > 0


def test_images_to_judge_by_are_held_out(
    loaded: LoadedModel,
    smears: dict[str, Dataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without images to check on, and if too much is lost, which is told."""
    monkeypatch.setattr(exporting, "LARGEST_DROP", -1.0)
    told: list[str] = []
    path = tmp_path / "m.xml"
    report = export_model(loaded, "openvino", path, int8=smears["train"], say=told.append)
    assert "calibrating on 4 images, judging by a third of the calibration's" in "".join(told)
    assert report.is_written
    assert report.export.precision == "float32"
    assert report.notes[0].startswith("It stays in float32: in 8 bits AP falls by")
    assert open_model(path, precision="float32").runtime.precision == "float32"


def test_layers_that_lose_too_much_stay_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    network = ExportedNetwork(with_a_thin_backbone(small_model().model))
    images = [noise(1, seed=seed) for seed in range(2)]
    model = network_to_openvino(network, torch.from_numpy(images[0]), InputSizes())
    exact = OpenVINORuntime(model, precision="float32")
    wanted = [np.concatenate(exact(each).logits, axis=1) for each in images]

    def detect(runtime: Any, indices: Sequence[int]) -> list[Any]:
        return [np.concatenate(runtime(images[index]).logits, axis=1) for index in indices]

    def score(found: Sequence[Any], indices: Sequence[int]) -> float:
        gaps = [
            np.abs(one - wanted[index]).mean() for one, index in zip(found, indices, strict=True)
        ]
        return 1 - float(np.mean(gaps)) / 100

    def lost(runtime: Any) -> float:
        return 1 - score(detect(runtime, range(2)), range(2))

    judgment = Judgment(detect, score, images=2)
    assert lost(exact) < 1e-6
    # A `Core` of NNCF's own would end the process at a later signal.
    monkeypatch.setattr(import_openvino(), "Core", None)
    monkeypatch.setattr(import_openvino(), "compile_model", None)
    everything, search = openvino_attempts(model, images, judgment)
    assert "several minutes" in search.plan
    assert not float_layers_openvino(whole := everything.make())
    assert lost(OpenVINORuntime(whole)) > 0.002
    quantized = search.make()
    layers = float_layers_openvino(quantized)
    assert 0 < lost(OpenVINORuntime(quantized)) <= 0.0016
    assert 0 < len(layers) < len(float_layers_openvino(model))
    assert set(layers) < {name for name, _ in network.named_modules()}


@pytest.mark.parametrize("target", ["openvino", "onnx"])
def test_the_first_depthwise_convolution_is_the_first_to_stay_in_float32(target: str) -> None:
    """One scale for all its channels rounds away those of small numbers."""
    thin = with_a_thin_backbone(small_model().model)
    first = thin.backbone.stages[0]
    channels = first.out_channels
    thin.backbone.stages[0] = torch.nn.Sequential(
        first,
        torch.nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        torch.nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
    )
    network = ExportedNetwork(thin)
    images = [noise(1, seed=seed) for seed in range(2)]

    def detect(runtime: Any, indices: Sequence[int]) -> list[Any]:
        return [runtime(images[index]) for index in indices]

    nothing_is_lost = Judgment(detect, lambda *_: 1.0, images=2)
    example = torch.from_numpy(images[0])
    if target == "openvino":
        model = network_to_openvino(network, example, InputSizes())
        attempts, float_layers = openvino_attempts, float_layers_openvino
    else:
        model = onnx_ir.to_proto(network_to_onnx(network, example, InputSizes()))
        attempts, float_layers = onnx_attempts, float_layers_onnx
    everything, trial, search = attempts(model, images, nothing_is_lost)
    assert float_layers(everything.make()) == ()
    assert "Trying it with backbone.stages.0.1 in float32" in trial.plan
    assert float_layers(trial.make()) == float_layers(search.make()) == ("backbone.stages.0.1",)

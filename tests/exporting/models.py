"""A small network that finds things, and its exports, each made once for all tests."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from foveal.checkpoints.model_file import LoadedModel
from foveal.config import Settings, parse_settings
from foveal.exporting.export import ExportReport, ExportTarget, export_model
from foveal.exporting.network import ExportedNetwork
from foveal.models.build import build_model
from foveal.runtimes.base import InputSizes
from foveal.structures import ModelCard

CLASSES = ("normal", "infected", "plättchen <1 µm> \"&'")
"""The last has all that XML, JSON and Triton's text might trip over."""

_FOLDER = Path(os.environ["FOVEAL_TESTS"]) / "exports"
"""All processes of a test run have the same."""


BINS = {"box_coding": "distances", "box_bins": 17, "level_scales": True}
"""What the presets have that give a location one square."""


def small_settings(*, bins: bool = False, **decoding: object) -> Settings:
    """Of a network with three levels, for images of 64 to 96 pixels; `bins`: of distances."""
    return parse_settings(
        {
            "model": {
                "backbone": "test_resnet",
                "weights": "none",
                "norm": "live",
                "fpn_channels": 16,
                "head_channels": 16,
                "head_depth": 1,
                **(BINS if bins else {}),
            },
            "anchors": {
                "strides": [8, 16, 32],
                "sizes": [12, 24, 48],
                **({"scales": [1.0], "ratios": [1.0]} if bins else {}),
            },
            "preparation": {"shorter": 64, "longer": 96},
            "decoding": {"max_detections": 60, "top_per_level": 50, **decoding},
        },
        where="test",
    )


@cache
def small_model(*, bins: bool = False) -> LoadedModel:
    """A network whose batch norms have seen something and whose scores differ from place to place.

    Some are above 0.3; on a gray image none is above 0.05. `bins`: its boxes are distances.
    """
    torch.manual_seed(3)
    settings = small_settings(bins=bins)
    model = build_model(settings, len(CLASSES))
    with torch.no_grad():
        model.train()(torch.from_numpy(noise(4)))
        model.eval()
        raw = model(torch.from_numpy(noise(2)))
        for head, values, spread in (
            (model.classification, raw.logits, 2.0),
            (model.box, raw.distributions or raw.deltas, 2.0 if bins else 0.3),
        ):
            deviation = torch.cat([part.flatten() for part in values]).std()
            head.output.weight.mul_(spread / deviation)
            head.output.bias.fill_(-5.0 if head is model.classification else 0.0)
    return LoadedModel(model, settings, ModelCard(CLASSES, score_threshold=0.4, origin="a test"))


def exported(target: ExportTarget, *, nms: bool = False) -> ExportReport:
    """The small network's export for any size; for pt2 with NMS for one."""
    return _exported(target, nms)


@cache
def _exported(target: ExportTarget, nms: bool) -> ExportReport:
    endings = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2", "triton": ""}
    path = _FOLDER / f"{target}-{nms}{endings[target]}"
    fixed = {"size": (64, 96), "batch": 3} if target == "pt2" and nms else {}
    with sharing_conversions():
        return _made_once(path, lambda: export_model(small_model(), target, path, nms=nms, **fixed))


@cache
def exported_for_one_size(target: ExportTarget) -> ExportReport:
    """The small network's export for two images of 64 x 96, in half precision."""
    path = _FOLDER / ("fixed.xml" if target == "openvino" else "fixed.onnx")
    fixed = {"half": True, "size": (64, 96), "batch": 2}
    with sharing_conversions():
        return _made_once(path, lambda: export_model(small_model(), target, path, **fixed))


@contextmanager
def sharing_conversions() -> Iterator[None]:
    """Within, a network is converted to ONNX or OpenVINO once for each input size in a test run.

    What follows in an export is asked of here: 8 bits, half precision, NMS, metadata, comparing.
    Each conversion takes seconds, and gives the same for the same network and sizes.
    """
    from foveal.exporting import onnx, openvino

    if isinstance(onnx.network_to_onnx, partial):  # it is within already
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "network_to_onnx", partial(_onnx_once, onnx.network_to_onnx))
        patch.setattr(
            openvino, "network_to_openvino", partial(_openvino_once, openvino.network_to_openvino)
        )
        yield


def _onnx_once(convert: Callable[..., Any], network: ExportedNetwork, *given: Any) -> Any:
    import onnx_ir

    path = _FOLDER / f"{_key(network, *given)}.onnx"

    def make() -> None:
        path.write_bytes(onnx_ir.to_proto(convert(network, *given)).SerializeToString())

    _made_once(path, make)
    return onnx_ir.from_proto(onnx_ir.to_proto(onnx_ir.load(path)))


def _openvino_once(convert: Callable[..., Any], network: ExportedNetwork, *given: Any) -> Any:
    from foveal.runtimes.openvino_core import shared_core
    from foveal.runtimes.telemetry import import_openvino

    path = _FOLDER / f"{_key(network, *given)}.xml"
    save = import_openvino().save_model
    _made_once(path, lambda: save(convert(network, *given), path, compress_to_fp16=False))
    return shared_core().read_model(path)


def _key(network: ExportedNetwork, example: torch.Tensor, sizes: InputSizes) -> str:
    """What a conversion depends on: layers and weights, and the sizes of its input."""
    digest = blake2b(repr((network, tuple(example.shape), sizes)).encode(), digest_size=12)
    for name, values in network.state_dict().items():
        digest.update(name.encode())
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _made_once(path: Path, make: Callable[[], Any]) -> Any:
    """What is made at `path`, by whichever of the run's processes needs it first."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    report = path.with_name(f"{path.name}.report")
    with FileLock(f"{path}.lock"):
        if not report.exists():
            report.write_bytes(pickle.dumps(make()))
        return pickle.loads(report.read_bytes())


def noise(batch: int, height: int = 64, width: int = 96, *, seed: int = 0) -> np.ndarray:
    """[B, 3, H, W] uint8 of blotches."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 255, (batch, 3, height // 8, width // 8), dtype=np.uint8)
    return coarse.repeat(8, axis=2).repeat(8, axis=3)

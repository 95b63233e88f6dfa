"""Logits and deltas against torchvision's two networks, with random weights."""

from __future__ import annotations

import pytest
import torch
from tests.models.parity import SIZES, Pair, make_pair


@pytest.fixture(scope="module", params=["v1", "v2"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(request.param, tmp_path_factory.mktemp("pair"))


def assert_same(
    pair: Pair, size: tuple[int, int], device: str, *, dtype: torch.dtype, tolerance: float
) -> None:
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(0, 256, (3, 3, *size), generator=generator, dtype=torch.uint8)
    images = images.to(device)
    with torch.inference_mode():
        expected, found = pair.foreign_output(images.to(dtype)), pair.own_output(images)
    for name in ("logits", "deltas"):
        theirs, ours = getattr(expected, name)[0], getattr(found, name)[0]
        assert ours.shape == theirs.shape
        assert ours.dtype == dtype
        difference = (ours - theirs).abs().max() / theirs.abs().max()
        assert difference < tolerance, name
    assert expected.logits[0].sigmoid().max() > 0.5
    assert pair.own.model.anchors(*size).shape == (expected.deltas[0].shape[1], 4)


@pytest.mark.parametrize("size", SIZES)
def test_same_output_as_torchvision(pair: Pair, size: tuple[int, int]) -> None:
    assert_same(pair, size, "cpu", dtype=torch.float32, tolerance=1e-4)


def test_same_function_as_torchvision(pair: Pair) -> None:
    """In float64, where rounding hides nothing: the last size is padded."""
    pair.foreign.double()
    pair.own.model.double()
    try:
        assert_same(pair, SIZES[-1], "cpu", dtype=torch.float64, tolerance=1e-10)
    finally:
        pair.foreign.float()
        pair.own.model.float()


@pytest.mark.gpu
@pytest.mark.parametrize("size", SIZES)
def test_same_output_as_torchvision_on_a_gpu(
    pair: Pair, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    pair.foreign.cuda()
    pair.own.model.cuda()
    try:
        assert_same(pair, size, "cuda", dtype=torch.float32, tolerance=1e-4)
    finally:
        pair.foreign.cpu()
        pair.own.model.cpu()


@pytest.mark.parametrize(("version", "parameters"), [("v1", 34_014_999), ("v2", 38_198_935)])
def test_as_many_parameters_as_published(version: str, parameters: int) -> None:
    from foveal.config import make_settings
    from foveal.models.build import build_model

    preset = {"v1": "torchvision", "v2": "torchvision_v2"}[version]
    model = build_model(make_settings(preset=preset, overrides=["model.weights=none"]), 91)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters

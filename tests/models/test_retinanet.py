"""The whole network: input, output, anchors, compilation, export."""

from __future__ import annotations

import pytest
import torch
from tests.models.conftest import make_small, make_thin
from torch import Tensor
from torch.utils._pytree import tree_leaves

from foveal.config import Settings
from foveal.models.retinanet import RetinaNet
from foveal.structures import RawOutput

Small = tuple[RetinaNet, Settings]


def pictures(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def assert_close(found: RawOutput, expected: RawOutput, tolerance: float = 1e-5) -> None:
    for ours, theirs in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("size", [(64, 96), (32, 32), (70, 101), (1, 33)])
def test_one_output_for_each_anchor(small: Small, size: tuple[int, int]) -> None:
    model, _ = small
    with torch.inference_mode():
        raw = model(pictures(2, 3, *size))
    anchors = model.anchors(*size)
    assert isinstance(raw, RawOutput)
    assert anchors.dtype == torch.float32
    assert sum(level.shape[1] for level in raw.logits) == len(anchors)
    assert {level.shape[2] for level in raw.logits} == {3}
    assert [level.shape[:2] for level in raw.deltas] == [level.shape[:2] for level in raw.logits]
    assert {level.shape[2] for level in raw.deltas} == {4}


def test_the_anchors_are_cached(small: Small) -> None:
    model, _ = small
    assert model.anchors(64, 64) is model.anchors(64, 64)
    assert torch.equal(model.anchors(33, 64), model.anchors(64, 64))


def test_normalized_inside(small: Small) -> None:
    model, settings = small
    images = pictures(1, 3, 64, 64)
    mean, std = settings.preparation.mean, settings.preparation.std
    expected = torch.stack([(images[0, band] / 255 - mean[band]) / std[band] for band in range(3)])
    torch.testing.assert_close(model.normalize(images)[0], expected)
    assert_close(model(images), model(images.float()))


def test_other_sizes_are_filled_up_with_the_mean(small: Small) -> None:
    model, settings = small
    images = pictures(1, 3, 50, 40).float()
    mean = 255 * torch.tensor(settings.preparation.mean)[:, None, None]
    filled = mean.expand(1, 3, 64, 64).clone()
    filled[..., :50, :40] = images
    assert_close(model(images), model(filled))


def test_a_batch_gives_what_single_images_give(small: Small) -> None:
    model, _ = small
    images = pictures(3, 3, 64, 96)
    together = model(images)
    for index in range(3):
        alone = model(images[index : index + 1])
        assert_close(
            RawOutput(*(tuple(level[index : index + 1] for level in part) for part in together)),
            alone,
        )


def test_the_output_does_not_depend_on_the_mode() -> None:
    model, _ = make_small("model.norm=group")
    images = pictures(2, 3, 64, 64)
    assert_close(model.train()(images), model.eval()(images))


def test_any_number_of_bands_and_anchors() -> None:
    model, _ = make_small(
        "model.bands=2",
        "preparation.mean=[0.5, 0.5]",
        "preparation.std=[1.0, 1.0]",
        "anchors.scales=[1.0]",
        "anchors.ratios=[1.0, 3.0]",
        "anchors.strides=[8, 16, 32, 64]",
        "anchors.sizes=[16.0, 32.0, 64.0, 128.0]",
        classes=1,
    )
    raw = model(pictures(1, 2, 64, 64))
    assert [level.shape[1] for level in raw.logits] == [128, 32, 8, 2]
    assert len(model.anchors(64, 64)) == 170


def test_bfloat16_weights(small: Small) -> None:
    model, _ = small
    images = pictures(1, 3, 64, 64)
    expected = model(images)
    found = model.bfloat16()(images)
    assert found.logits[0].dtype == torch.bfloat16
    similarity = torch.cosine_similarity(
        torch.cat(found.logits, 1).float().flatten(), torch.cat(expected.logits, 1).flatten(), 0
    )
    assert similarity > 0.999


def test_autocast_keeps_the_anchors_float32(small: Small) -> None:
    model, _ = small
    with torch.autocast("cpu", dtype=torch.bfloat16):
        raw = model(pictures(1, 3, 64, 64))
    assert raw.logits[0].dtype == torch.bfloat16
    assert model.anchors(64, 64).dtype == torch.float32


@pytest.mark.slow
def test_compiles_with_inductor() -> None:
    """Without timm's backbone, each of whose kernels takes a C++ compiler a second.

    The class subnet is the paper's, the box subnet has all additions.
    """
    model, _ = make_thin(
        "anchors.scales=[1]",
        "anchors.ratios=[1]",
        "model.box_coding=distances",
        "model.box_bins=5",
        "model.quality=centerness",
        "model.level_scales=true",
    )
    images = pictures(1, 3, 64, 96)
    with torch.no_grad():
        found = torch.compile(model, fullgraph=True, dynamic=False)(images)
        assert_close(found, model(images), 1e-4)


def test_exports_with_any_batch_height_and_width(small: Small) -> None:
    """In multiples of 32 above 128, where every level has more than one row and column."""
    model, _ = small
    sides = {2: 32 * torch.export.Dim("rows", min=5), 3: 32 * torch.export.Dim("columns", min=5)}
    shapes = {"images": {0: torch.export.Dim("batch"), **sides}}
    program = torch.export.export(model, (pictures(2, 3, 160, 192),), dynamic_shapes=shapes)
    exported = program.module()
    for size in ((1, 3, 160, 160), (3, 3, 256, 160), (2, 3, 192, 352)):
        images = pictures(*size)
        assert_close(exported(images), model(images))

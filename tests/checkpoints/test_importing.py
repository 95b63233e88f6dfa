"""Whose checkpoint a file is; and what is said of those that are nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from foveal.checkpoints.foreign_files import ForeignFile
from foveal.checkpoints.imported_model import ImportOptions
from foveal.checkpoints.importing import IMPORTERS, find_source
from foveal.checkpoints.resnets import RESNETS, find_resnet
from foveal.errors import WeightsError

ONE = torch.ones(1)
STEM, BOX = "backbone.body.conv1.weight", "head.regression_head.bbox_reg.weight"


def file_with(*names: str, **values: object) -> ForeignFile:
    return ForeignFile(Path("c.pth"), dict.fromkeys(names, ONE), values=values)


def test_the_source_is_found_with_its_reason() -> None:
    source, reason, others = find_source(file_with(f"model.{STEM}", f"model.{BOX}"))
    assert (source, others) == ("torchvision", {})
    assert reason == f"it has {STEM} and head.regression_head.bbox_reg"


def test_another_source_than_the_chosen_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody:
        def recognize(self, file: ForeignFile) -> str | None:
            return "it is empty" if not file.tensors else None

    monkeypatch.setitem(IMPORTERS, "nobody", Nobody())
    with pytest.raises(WeightsError, match=r"no checkpoint of nobody. It is of torchvision, since"):
        find_source(file_with(STEM, BOX), "nobody")
    assert find_source(file_with())[:2] == ("nobody", "it is empty")


LOOKS = {
    "Faster R-CNN": (STEM, "rpn.head.conv.0.0.weight", "roi_heads.box_predictor.bbox_pred.weight"),
    "Mask R-CNN": (STEM, "roi_heads.mask_head.0.0.weight"),
    "FCOS": (STEM, BOX, "head.regression_head.bbox_ctrness.weight"),
    "SSD": (STEM, "head.classification_head.module_list.0.weight"),
    "DETR": ("model.class_embed.weight", "backbone.0.body.layer1.0.conv1.weight"),
    "YOLO": ("model.0.conv.weight", "model.22.cv3.0.1.bn.bias"),
    "a network for classification.*--set model.weights=": ("layer1.0.conv1.weight", "fc.weight"),
    "a backbone alone.*--set model.weights=": ("conv1.weight", "layer1.0.conv1.weight"),
    "a part of torchvision's": (BOX, "backbone.fpn.inner_blocks.0.0.weight"),
    "foveal's own network": ("classification.output.weight", "fpn.lateral.0.weight"),
    "2 tensors of a network that is not known: x.weight": ("x.weight", "y.weight"),
}


@pytest.mark.parametrize("what", LOOKS)
def test_what_a_file_looks_like(what: str) -> None:
    with pytest.raises(WeightsError, match=rf"c\.pth: is no RetinaNet of a source .*{what}"):
        find_source(file_with(*LOOKS[what]))


def test_a_model_of_our_own() -> None:
    with pytest.raises(WeightsError, match="is a model of foveal's already"):
        find_source(file_with("conv.weight", metadata={"foveal": "{}"}))


@pytest.mark.parametrize(("kind", "name"), RESNETS.items())
def test_every_resnet_is_told_by_its_blocks(
    kind: tuple[tuple[int, ...], tuple[int, int]], name: str
) -> None:
    blocks, shape = kind
    assert find_resnet(resnet(blocks, shape), prefix="body.", where="c") == name


def resnet(blocks: tuple[int, ...], shape: tuple[int, ...]) -> dict[str, Tensor]:
    return {
        f"body.layer{stage}.{block}.conv{number}.weight": torch.empty(*shape, 3, 3, device="meta")
        for stage, count in enumerate(blocks, 1)
        for block in range(count)
        for number in (1, 2, 3)
    }


def test_an_unknown_resnet() -> None:
    with pytest.raises(WeightsError, match=r"\(3, 4, 6, 3\) blocks .* is \[96, 8\]. Expected one"):
        find_resnet(resnet((3, 4, 6, 3), (96, 8)), prefix="body.", where="c")


@pytest.mark.parametrize("count", [0, 24, 26])
def test_names_that_are_too_many_or_too_few(count: int) -> None:
    options = ImportOptions(classes=tuple(map(str, range(count))))
    with pytest.raises(WeightsError, match=rf"c: has 25 classes and there are {count} names"):
        options.names(25, where="c")


def test_names_that_follow() -> None:
    options = ImportOptions()
    coco = options.names(80, where="c")
    assert coco is not None
    assert (coco[0], coco[11], coco[79]) == ("person", "stop sign", "toothbrush")
    assert options.names(79, where="c") is None
    assert ImportOptions(classes=("a",)).names(1, where="c") == ("a",)

"""torchvision's RetinaNet with random weights, and ours with the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision.models.detection as foreign_models
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from foveal.checkpoints.importing import import_model
from foveal.checkpoints.model_file import LoadedModel
from foveal.exporting.torchvision import BACKGROUND_LOGIT
from foveal.structures import RawOutput

SIZES = [(96, 160), (128, 64), (75, 118)]
"""Height and width of the inputs; the last is no multiple of 32."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Pair:
    """The same network twice; torchvision's label is ours + 1."""

    foreign: Any
    own: LoadedModel

    def foreign_output(self, images: Tensor) -> RawOutput:
        """What torchvision's network says, all levels in one, without the background channel.

        The images are 0..255; what torchvision's transform does to them, but for resizing, is
        done here.
        """
        height, width = images.shape[-2:]
        mean, std = (torch.tensor(part)[:, None, None].to(images) for part in (MEAN, STD))
        normalized = (images / 255 - mean) / std
        padded = nn.functional.pad(normalized, (0, -width % 32, 0, -height % 32))
        out = self.foreign.head(list(self.foreign.backbone(padded).values()))
        logits, deltas = (in_our_order(out[name]) for name in ("cls_logits", "bbox_regression"))
        return RawOutput((logits[..., 1:],), (deltas,))

    def own_output(self, images: Tensor) -> RawOutput:
        """What ours says, all levels in one."""
        raw = self.own.model(images)
        return RawOutput((torch.cat(raw.logits, dim=1),), (torch.cat(raw.deltas, dim=1),))


def in_our_order(values: Tensor) -> Tensor:
    """torchvision's values [B, A, V], at each location ratio by ratio, in ours: scale by scale."""
    by_kind = values.unflatten(1, (-1, 3, 3))  # ratios, scales
    return by_kind.transpose(2, 3).flatten(1, 3)


def make_pair(version: str, folder: Path, *, num_classes: int = 91, spread: float = 1.5) -> Pair:
    """Make torchvision's network, version 'v1' or 'v2', with random weights, and import it.

    The logits lie around the prior's with standard deviation `spread`, so that some detections are
    confident; the unused background channel never fires, as in our export.
    """
    foreign = make_foreign(version, num_classes=num_classes, spread=spread)
    path = folder / f"{version}.pth"
    torch.save(foreign.state_dict(), path)
    return Pair(foreign, import_model(path).loaded)


def make_foreign(
    version: str, *, num_classes: int = 91, spread: float = 1.5, seed: int = 0
) -> nn.Module:
    """torchvision's network with random weights whose activations keep their size."""
    make = {
        "v1": foreign_models.retinanet_resnet50_fpn,
        "v2": foreign_models.retinanet_resnet50_fpn_v2,
    }[version]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = make(weights=None, weights_backbone=None, num_classes=num_classes)
        mean, std = (torch.tensor(part)[:, None, None] for part in (MEAN, STD))
        images = (torch.rand(1, 3, 128, 128) - mean) / std
        _randomise_norms(model, images)
        if version == "v1":
            _freeze_norms(model)
        model.eval()
        _spread_outputs(model, images, spread)
    return model


@torch.no_grad()
def _randomise_norms(model: Any, images: Tensor) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.backbone.train()
    model.backbone(images)


def _freeze_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, eps=0.0)
            frozen.load_state_dict(child.state_dict())
            setattr(module, name, frozen)
        else:
            _freeze_norms(child)


@torch.no_grad()
def _spread_outputs(model: Any, images: Tensor, spread: float) -> None:
    classification, box = model.head.classification_head, model.head.regression_head
    for head in (classification, box):
        for layer in head.conv.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    features = list(model.backbone(images).values())
    prior = classification.cls_logits.bias[0].item()
    classification.cls_logits.weight *= spread / (classification(features) - prior).std()
    box.bbox_reg.weight *= 0.3 / box(features).std()
    channels = classification.num_classes
    classification.cls_logits.weight[::channels] = 0
    classification.cls_logits.bias[::channels] = BACKGROUND_LOGIT

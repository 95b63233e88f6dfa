"""torchvision's RetinaNet trained by a fair recipe, an epoch at a time, beside foveal's.

Its public API as its reference scripts use it: BackboneWithFPN on MobileNetV2 with ImageNet
weights, its default anchors, frozen batch norms (their affine parameters too), SGD with warm-up and
cosine, gradients of a limited norm, flips both ways.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader
from torchvision.io import ImageReadMode, decode_image
from torchvision.models import mobilenet_v2
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from benchmarks.lib.networks import LONGER, MOBILENET_LEVELS, memory_without_foveal
from foveal.acceleration.precision import autocast
from foveal.data.dataset import Dataset
from foveal.structures import Detections

RATE, RATE_BATCH = 0.01, 8
"""The highest learning rate, and its images a step."""
CLIP = 10.0
"""The largest norm of a gradient: without a limit it diverges now and then."""


def torchvision_model(weights: Path, *, classes: int, size: int) -> RetinaNet:
    body = mobilenet_v2(weights=None, norm_layer=FrozenBatchNorm2d)
    load_timm_weights(body, weights)
    backbone = BackboneWithFPN(
        body.features, MOBILENET_LEVELS, [32, 96, 320], 256, extra_blocks=LastLevelP6P7(256, 256)
    )
    sizes = tuple(
        (x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512)
    )
    model = RetinaNet(
        backbone,
        num_classes=classes + 1,
        anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5),
        min_size=size,
        max_size=round(LONGER * size),
        detections_per_img=100,
    )
    return model.to(memory_format=torch.channels_last)


def load_timm_weights(body: nn.Module, path: Path) -> None:
    """timm's and torchvision's MobileNetV2 have the same layers in the same order."""
    wanted = [key for key in body.state_dict() if not key.startswith("classifier")]
    source = load_file(path)
    order = [key for key in timm_order() if not key.startswith("classifier")]
    state = dict(zip(wanted, (source[key] for key in order), strict=True))
    missing = body.load_state_dict(state, strict=False).missing_keys
    if any(not key.startswith("classifier") for key in missing):
        raise SystemExit(f"weights do not fit: {missing[:5]}")


def timm_order() -> list[str]:
    import timm

    state = timm.create_model("mobilenetv2_100", pretrained=False).state_dict()
    return [key for key in state if not key.endswith("num_batches_tracked")]


class Images(torch.utils.data.Dataset[Any]):
    def __init__(self, data: Dataset, *, flips: bool) -> None:
        self.data, self.flips = data, flips

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        record = self.data.records[index]
        image = decode_image(str(record.path), ImageReadMode.RGB).float() / 255
        boxes = torch.from_numpy(record.boxes.copy())
        height, width = image.shape[-2:]
        if self.flips and torch.rand(()) < 0.5:
            image = image.flip(-1)
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        if self.flips and torch.rand(()) < 0.5:
            image = image.flip(-2)
            boxes[:, [1, 3]] = height - boxes[:, [3, 1]]
        return image, {"boxes": boxes, "labels": torch.from_numpy(record.labels + 1)}


@dataclass(frozen=True)
class TorchvisionTraining:
    """What torchvision's training is asked for.

    Attributes:
        epochs: over which the learning rate falls.
        batch: images a step.
        rate: the highest learning rate.
        precision: of autocast; float32 for none.
    """

    epochs: int
    batch: int
    rate: float
    precision: torch.dtype


class TorchvisionRun:
    """torchvision's training, an epoch at a time."""

    def __init__(self, model: RetinaNet, data: Dataset, asked: TorchvisionTraining) -> None:
        self.model = model
        self.precision = asked.precision
        self.loader = DataLoader(
            Images(data, flips=True),
            batch_size=asked.batch,
            shuffle=True,
            num_workers=1,
            collate_fn=lambda items: tuple(zip(*items, strict=True)),
            persistent_workers=True,
        )
        parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, lr=asked.rate, momentum=0.9, weight_decay=1e-4)
        steps = asked.epochs * len(self.loader)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / 100)
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)
        self.seconds: list[float] = []
        self.loss = float("nan")

    @memory_without_foveal()
    def epoch(self) -> None:
        self.model.train()
        start, total = time.perf_counter(), 0.0
        for images, targets in self.loader:
            with autocast("cpu", self.precision):
                losses = self.model(list(images), list(targets))
            loss = sum(losses.values())
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
            self.schedule.step()
            total += float(loss.detach())
        self.loss = total / len(self.loader)
        if not math.isfinite(self.loss):
            raise SystemExit("torchvision's training diverged; --rate sets its learning rate")
        self.seconds.append(time.perf_counter() - start)

    def detect(self, data: Dataset) -> list[Detections]:
        self.model.eval()
        detections = []
        for index in range(len(data)):
            image, _ = Images(data, flips=False)[index]
            with torch.inference_mode(), autocast("cpu", self.precision):
                out = {key: value.cpu() for key, value in self.model([image])[0].items()}
            detections.append(
                Detections(
                    out["boxes"].float().numpy(),
                    out["scores"].float().numpy(),
                    (out["labels"] - 1).numpy(),
                    classes=data.classes,
                )
            )
        return detections

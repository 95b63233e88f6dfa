"""torchvision's detectors trained by a fair recipe, an epoch at a time, beside foveal's.

SGD with warm-up and cosine, gradients of a limited norm, flips both ways; for SSDLite its crops
besides, as torchvision's reference scripts have them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from benchmarks.lib.networks import memory_without_foveal
from foveal.acceleration.precision import autocast
from foveal.data.dataset import Dataset
from foveal.data.images.reading import read_image
from foveal.structures import Detections

RATE, RATE_BATCH = 0.01, 8
"""The highest learning rate, and its images a step."""
CLIP = 10.0
"""The largest norm of a gradient: without a limit it diverges now and then."""
WORKERS = {"cpu": 1, "cuda": 3}
"""Processes that read images."""


class Images(torch.utils.data.Dataset[Any]):
    """Images [3, H, W] uint8 with their boxes; regions to ignore are left out."""

    def __init__(self, data: Dataset, *, flips: bool, crops: bool = False) -> None:
        self.data, self.flips = data, flips
        self.crop = v2.Compose([v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes()]) if crops else None

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        record = self.data.records[index]
        image = read_pixels(record.path)
        boxes = torch.from_numpy(record.boxes[~record.ignored])
        labels = torch.from_numpy(record.labels[~record.ignored] + 1)
        if self.crop is not None and len(boxes):
            image, boxes, labels = self._cropped(image, boxes, labels)
        height, width = image.shape[-2:]
        if self.flips and torch.rand(()) < 0.5:
            image = image.flip(-1)
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        if self.flips and torch.rand(()) < 0.5:
            image = image.flip(-2)
            boxes[:, [1, 3]] = height - boxes[:, [3, 1]]
        return image, {"boxes": boxes, "labels": labels}

    def _cropped(
        self, image: Tensor, boxes: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        target = {
            "boxes": tv_tensors.BoundingBoxes(
                boxes, format="XYXY", canvas_size=tuple(image.shape[-2:])
            ),
            "labels": labels,
        }
        image, target = self.crop(tv_tensors.Image(image), target)
        return torch.Tensor(image), torch.Tensor(target["boxes"]), target["labels"]


def read_pixels(path: Path) -> Tensor:
    """An image as [3, H, W] uint8, read as foveal does: torchvision's readers are deprecated."""
    return torch.from_numpy(read_image(path)).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class TorchvisionTraining:
    """What torchvision's training is asked for.

    Attributes:
        epochs: over which the learning rate falls.
        batch: images a step.
        rate: the highest learning rate.
        precision: of autocast; float32 for none.
        device: 'cpu' or 'cuda'.
        weight_decay: of all weights.
        crops: whether images are cropped at random, as SSD's are.
    """

    epochs: int
    batch: int
    rate: float
    precision: torch.dtype
    device: str = "cpu"
    weight_decay: float = 1e-4
    crops: bool = False


class TorchvisionRun:
    """torchvision's training, an epoch at a time."""

    def __init__(self, model: nn.Module, data: Dataset, asked: TorchvisionTraining) -> None:
        self.asked = asked
        self.model = model.to(device=asked.device, memory_format=torch.channels_last)
        self.loader = DataLoader(
            Images(data, flips=True, crops=asked.crops),
            batch_size=asked.batch,
            shuffle=True,
            num_workers=WORKERS[asked.device],
            collate_fn=lambda items: tuple(zip(*items, strict=True)),
            persistent_workers=WORKERS[asked.device] > 0,
        )
        parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(
            parameters, lr=asked.rate, momentum=0.9, weight_decay=asked.weight_decay
        )
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
            on_device = [self._input(image) for image in images]
            labeled = [
                {key: part.to(self.asked.device) for key, part in target.items()}
                for target in targets
            ]
            with autocast(self.asked.device, self.asked.precision):
                losses = self.model(on_device, labeled)
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

    def _input(self, image: Tensor) -> Tensor:
        return image.to(self.asked.device).float() / 255

    def detect(self, data: Dataset) -> list[Detections]:
        return [self.detect_file(record.path, data.classes) for record in data.records]

    def detect_file(self, path: Path, classes: tuple[str, ...]) -> Detections:
        """From a file to detections, all that prediction takes."""
        self.model.eval()
        image = self._input(read_pixels(path))
        with torch.inference_mode(), autocast(self.asked.device, self.asked.precision):
            out = self.model([image])[0]
        objects = out["labels"] > 0  # RetinaNet and FCOS have an output for background too
        boxes, scores, labels = (out[key][objects].cpu() for key in ("boxes", "scores", "labels"))
        return Detections(
            boxes.float().numpy(),
            scores.float().numpy(),
            (labels - 1).numpy(),
            classes=classes,
        )

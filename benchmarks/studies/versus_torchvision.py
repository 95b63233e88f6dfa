"""The same training twice, epoch by epoch in turn: foveal's and torchvision's RetinaNet.

    python -m benchmarks.studies.versus_torchvision --epochs 12

Same images, backbone (MobileNetV2), ImageNet weights, input size, batch, epochs, memory layout and
precision (bf16 where the processor has a matrix unit for it, else float32; or --precision).
torchvision's half is its public API as its reference scripts use it: BackboneWithFPN, its default
anchors, frozen batch norm, SGD with a learning rate of 0.01 for 16 images (their recipe's) and less
in proportion, or --rate, cosine after 100 steps of warm-up, flips both ways. foveal's half is
`Detector.fit` with its defaults and the same flips. Both are measured by the same evaluation on the
images that neither saw, with the last weights.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Mapping, Sequence
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

import foveal
from benchmarks.lib.networks import LONGER, MOBILENET_LEVELS, memory_without_foveal
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.shared_data import BCCD
from benchmarks.lib.training import EpochLog, add_training_options, training_settings
from foveal.acceleration.precision import autocast, choose_precision
from foveal.config import Settings
from foveal.data.dataset import Dataset
from foveal.evaluation.evaluate import evaluate
from foveal.structures import Detections

RATE, RATE_BATCH = 0.01, 16
"""Learning rate of torchvision's own recipe, and its images a step."""


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


class Interleaved(EpochLog):
    """Runs an epoch of torchvision's training after each of foveal's."""

    def __init__(self, other: TorchvisionRun | None) -> None:
        super().__init__()
        self.other = other

    def epoch(self, summary: Mapping[str, Any]) -> None:
        """Keep foveal's epoch and run torchvision's."""
        super().epoch(summary)
        if self.other is not None:
            self.other.epoch()
            print(f"  torchvision: {self.other.seconds[-1]:.0f} s, loss {self.other.loss:.3f}")


def plan(options: argparse.Namespace) -> tuple[Settings, TorchvisionTraining | None]:
    """The settings of foveal's training, and what torchvision's is asked for."""
    settings = training_settings(
        options,
        [
            "model.backbone=mobilenetv2_100",
            f"training.batch={options.batch}",
            f"training.precision={options.precision}",
            "augmentation.flip_vertical=true",
        ],
        preset="standard",
    )
    if options.only_foveal:
        return settings, None
    return settings, TorchvisionTraining(
        epochs=options.epochs,
        batch=options.batch,
        rate=options.rate or RATE * options.batch / RATE_BATCH,
        precision=choose_precision(options.precision, "cpu"),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    settings, asked = plan(options)
    torch.manual_seed(0)
    training = foveal.read(f"{options.data}:train+val")
    test = foveal.read(f"{options.data}:test")
    other = None
    if asked is not None:
        model = torchvision_model(
            Path(options.weights), classes=len(training.classes), size=options.size
        )
        other = TorchvisionRun(model, training, asked)
    detector = foveal.Detector(training, settings=settings)
    log = Interleaved(other)
    detector.fit(valid=test, reporter=log)
    contestants = {"foveal": (detector.evaluate(test), log.seconds)}
    if other is not None:
        evaluation = evaluate(other.detect(test), test.targets, test.classes)
        contestants["torchvision"] = evaluation, other.seconds
    rows = [
        {
            "": name,
            "AP": evaluation.ap,
            "AP from": evaluation.ap_interval.low,
            "AP to": evaluation.ap_interval.high,
            "AP50": evaluation.ap50,
            "images/s": len(training) / statistics.median(seconds),
            "minutes": sum(seconds) / 60,
        }
        for name, (evaluation, seconds) in contestants.items()
    ]
    print_table(rows)
    name = f"versus_torchvision_{options.epochs}"
    path = write_result(name, rows, folder=options.out, options=vars(options))
    print("written:", path.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_training_options(parser, data=BCCD, epochs=12, size=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, help="torchvision's learning rate")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bf16"])
    parser.add_argument("--only-foveal", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

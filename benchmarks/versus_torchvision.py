"""The same training twice, epoch by epoch in turn: foveal's and torchvision's RetinaNet.

    python benchmarks/versus_torchvision.py --data ../shared/data/bccd \
        --weights ../shared/weights/mobilenetv2_100_imagenet.safetensors --epochs 12

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
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from harness import print_table, write_result
from networks import memory_without_foveal
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
from foveal.acceleration.precision import autocast, choose_precision
from foveal.config import make_settings
from foveal.data.dataset import Dataset
from foveal.evaluation.evaluate import evaluate
from foveal.structures import Detections
from foveal.training.reporters import LoggingReporter

LEVELS = {"6": "0", "13": "1", "17": "2"}
"""MobileNetV2's last blocks at strides 8, 16 and 32, with 32, 96 and 320 channels."""


def torchvision_model(weights: Path, *, classes: int, size: int) -> RetinaNet:
    body = mobilenet_v2(weights=None, norm_layer=FrozenBatchNorm2d)
    load_timm_weights(body, weights)
    backbone = BackboneWithFPN(
        body.features, LEVELS, [32, 96, 320], 256, extra_blocks=LastLevelP6P7(256, 256)
    )
    sizes = tuple(
        (x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512)
    )
    model = RetinaNet(
        backbone,
        num_classes=classes + 1,
        anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5),
        min_size=size,
        max_size=round(size * 5 / 3),
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


class TorchvisionRun:
    """torchvision's training, an epoch at a time."""

    def __init__(
        self,
        model: RetinaNet,
        data: Dataset,
        *,
        epochs: int,
        batch: int,
        rate: float,
        precision: torch.dtype,
    ) -> None:
        self.model = model
        self.precision = precision
        self.loader = DataLoader(
            Images(data, flips=True),
            batch_size=batch,
            shuffle=True,
            num_workers=1,
            collate_fn=lambda items: tuple(zip(*items, strict=True)),
            persistent_workers=True,
        )
        parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=1e-4)
        steps = epochs * len(self.loader)

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
        found = []
        for index in range(len(data)):
            image, _ = Images(data, flips=False)[index]
            with torch.inference_mode(), autocast("cpu", self.precision):
                out = {key: value.cpu() for key, value in self.model([image])[0].items()}
            found.append(
                Detections(
                    out["boxes"].float().numpy(),
                    out["scores"].float().numpy(),
                    (out["labels"] - 1).numpy(),
                    classes=data.classes,
                )
            )
        return found


class Interleaved(LoggingReporter):
    """Runs an epoch of the other's training after each of ours."""

    def __init__(self, other: TorchvisionRun | None) -> None:
        self.other = other
        self.seconds: list[float] = []

    def epoch(self, summary: Mapping[str, Any]) -> None:
        self.seconds.append(float(summary["seconds"]))
        line = f"epoch {summary['epoch']}: foveal {summary['seconds']:.1f} s, {summary['loss']:.3f}"
        if self.other is not None:
            self.other.epoch()
            line += f"; torchvision {self.other.seconds[-1]:.1f} s, {self.other.loss:.3f}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="../shared/data/bccd")
    parser.add_argument(
        "--weights", default="../shared/weights/mobilenetv2_100_imagenet.safetensors"
    )
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, help="torchvision's learning rate")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bf16"])
    parser.add_argument("--set", action="append", default=[], help="a foveal setting")
    parser.add_argument("--only-foveal", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)

    training = foveal.read(f"{options.data}:train+val")
    test = foveal.read(f"{options.data}:test")
    other = None
    if not options.only_foveal:
        model = torchvision_model(
            Path(options.weights), classes=len(training.classes), size=options.size
        )
        other = TorchvisionRun(
            model,
            training,
            epochs=options.epochs,
            batch=options.batch,
            rate=options.rate or 0.01 * options.batch / 16,
            precision=choose_precision(options.precision, "cpu"),
        )
    settings = make_settings(
        overrides=[
            "model.backbone=mobilenetv2_100",
            f"model.weights={options.weights}",
            f"preparation.shorter={options.size}",
            f"preparation.longer={round(options.size * 5 / 3)}",
            f"training.batch={options.batch}",
            f"training.precision={options.precision}",
            f"training.epochs={options.epochs}",
            f"training.evaluate_every={options.epochs}",
            "augmentation.flip_vertical=true",
            *options.set,
        ]
    )
    detector = foveal.Detector(training, settings=settings)
    reporter = Interleaved(other)
    detector.fit(valid=test, reporter=reporter)

    rows = []
    contestants = {"foveal": (detector.evaluate(test), reporter.seconds)}
    if other is not None:
        targets = [test.target(index) for index in range(len(test))]
        contestants["torchvision"] = (
            evaluate(other.detect(test), targets, test.classes),
            other.seconds,
        )
    for name, (evaluation, seconds) in contestants.items():
        rows.append(
            {
                "": name,
                "AP": evaluation.ap,
                "AP from": evaluation.ap_interval.low,
                "AP to": evaluation.ap_interval.high,
                "AP50": evaluation.ap50,
                "images/s": len(training) / sorted(seconds)[len(seconds) // 2],
                "minutes": sum(seconds) / 60,
            }
        )
    print_table(rows)
    name = f"versus_torchvision_{options.epochs}"
    path = write_result(name, rows, options=json.loads(json.dumps(vars(options), default=str)))
    print("written:", path.name)


if __name__ == "__main__":
    main()

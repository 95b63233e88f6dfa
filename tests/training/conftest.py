"""A network of a few thousand weights and drawn batches, so that a run takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from foveal.config import Settings, make_settings
from foveal.data.dataset import Dataset, Record
from foveal.structures import Batch
from foveal.training.step import TrainStep

TINY = (
    "model.backbone=test_resnet",
    "model.weights=none",
    "model.norm=group",
    "model.fpn_channels=8",
    "model.head_channels=8",
    "model.head_depth=1",
    "anchors.sizes=[16, 32, 64]",
    "anchors.strides=[8, 16, 32]",
    "preparation.shorter=64",
    "preparation.longer=64",
    "training.batch=4",
    "training.epochs=2",
    "training.optimizer=sgd",  # whose steps are in proportion to the gradient
    "training.warmup_steps=2",
    "training.log_every=1",
    "training.precision=float32",
    "training.export=false",
    "training.workers=0",
)


def tiny_settings(*overrides: str) -> Settings:
    return make_settings(preset="retinanet", overrides=(*TINY, *overrides))


def make_fake_batch(seed: int, *, images: int = 4, size: int = 64) -> Batch:
    """Bright squares on noise, one to three an image; the first image has none."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 80, (images, 3, size, size), dtype=np.uint8)
    boxes = np.zeros((images, 8, 4), np.float32)
    labels = np.zeros((images, 8), np.int64)
    counts = np.zeros(images, np.int64)
    for image in range(1, images):
        counts[image] = generator.integers(1, 4)
        for number in range(counts[image]):
            side = int(generator.integers(12, 30))
            x, y = generator.integers(0, size - side, 2)
            label = int(generator.integers(2))
            pixels[image, label, y : y + side, x : x + side] += 150
            boxes[image, number] = (x, y, x + side, y + side)
            labels[image, number] = label
    return Batch(
        torch.from_numpy(pixels).contiguous(memory_format=torch.channels_last),
        torch.from_numpy(boxes),
        torch.from_numpy(labels),
        torch.zeros(images, 8, dtype=torch.bool),
        torch.from_numpy(counts),
        names=tuple(f"{seed}-{image}.jpg" for image in range(images)),
        has_ignored=False,
    )


class FakeBatches:
    """The same batches for the same epoch and step, as the real loader gives."""

    windows = None

    def __init__(self, steps: int = 3, *, change=lambda batch, epoch, step: batch):
        self.steps = steps
        self.change = change

    def epoch(self, epoch, *, start_step=0, progress=1.0):
        for step in range(start_step, self.steps):
            yield [self.change(make_fake_batch(100 * epoch + step), epoch, step)]

    def close(self):
        pass


@pytest.fixture
def fake_data() -> Dataset:
    records = tuple(
        Record(
            Path(f"/nowhere/{number}.jpg"),
            64,
            64,
            np.asarray([[1, 2, 30, 40]], np.float32),
            np.zeros(1, np.int64),
            np.zeros(1, np.bool_),
        )
        for number in range(12)
    )
    return Dataset(records, ("red", "green"), Path("/nowhere"))


@pytest.fixture
def repeated_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test's first step be all of them: computing steps takes most of a tiny run's time.

    For tests that ask nothing of the weights and losses.
    """
    real, results = TrainStep.step, []

    def step(self, *arguments, **options):
        if not results:
            results.append(real(self, *arguments, **options))
        return results[0]

    monkeypatch.setattr(TrainStep, "step", step)


def distillation_of_parts(make, parts):
    """The loss against a teacher of accumulated parts: each weighs as its assigned anchors.

    Args:
        make: makes a step with its teacher, always the same.
        parts: of the batch.
    """
    each = [make().step([part], 0.01) for part in parts]
    train_step = make()
    counts = [train_step._part_losses(part)[0].divisor.item() for part in parts]
    return sum(c * r.distillation for c, r in zip(counts, each, strict=True)) / sum(counts)

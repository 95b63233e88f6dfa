"""Small data sets that studies train on: which images, and which are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import foveal
from benchmarks.lib.shared_data import BCCD, HIT_UAV
from foveal.data.dataset import Dataset

FEW = 50
"""Training images of the data sets that end with it."""
SUBSET_SEED = 0
"""Chooses them, and hit-uav's validation images: the same in all trainings."""
VALIDATION_FRACTION = 0.2


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        read: gives for a split the images to train on and those to measure. For 'val' training
            images alone are trained on and validation images measured, for 'test' both are trained
            on, and test images measured.
        size: the shorter side of the inputs of others than foveal.
        minutes: of a training.
        read_more: gives images whose labels are not looked at, and those that say which
            detections are sure; None where there are none.
    """

    read: Callable[[str], tuple[Dataset, Dataset]]
    size: int
    minutes: float
    read_more: Callable[[], tuple[Dataset, Dataset]] | None = None


def read_bccd(split: str) -> tuple[Dataset, Dataset]:
    training = "train" if split == "val" else "train+val"
    return foveal.read(f"{BCCD}:{training}"), foveal.read(f"{BCCD}:{split}")


def split_few_bccd() -> tuple[Dataset, Dataset]:
    """A few training images, and the others."""
    training = foveal.read(f"{BCCD}:train")
    order = np.random.default_rng(SUBSET_SEED).permutation(len(training)).tolist()
    return training.take(sorted(order[:FEW])), training.take(sorted(order[FEW:]))


def read_few_bccd(split: str) -> tuple[Dataset, Dataset]:
    return split_few_bccd()[0], foveal.read(f"{BCCD}:{split}")


def read_more_bccd() -> tuple[Dataset, Dataset]:
    return split_few_bccd()[1], foveal.read(f"{BCCD}:val")


def read_hit_uav(split: str) -> tuple[Dataset, Dataset]:
    training, test = (
        foveal.read(HIT_UAV / f"{name}.json").ignoring("DontCare") for name in ("train", "val")
    )
    if split == "val":
        return training.split(VALIDATION_FRACTION, seed=SUBSET_SEED)
    return training, test


DATA = {
    "bccd": Data(read_bccd, size=320, minutes=24),
    f"bccd-{FEW}": Data(read_few_bccd, size=320, minutes=10, read_more=read_more_bccd),
    "hit-uav": Data(read_hit_uav, size=512, minutes=24),
}

"""Images of rare classes come more often: how often, and the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.data.dataset import Record
from foveal.data.loading.plan import plan_training
from foveal.data.loading.sampling import draw_repeated, images_an_epoch, repeat_factors
from foveal.data.transforms.preparation import Preparation


def record(*labels: int, ignored: bool = False) -> Record:
    count = len(labels)
    return Record(
        Path("/nowhere/a.jpg"), 64, 48, np.ones((count, 4), np.float32),
        np.asarray(labels, np.int64), np.full(count, ignored),
    )  # fmt: skip


def test_by_hand() -> None:
    records = [record(0)] * 14 + [record(0, 1), record(2, ignored=True), record()]
    records += [record(0)] * 3
    # Class 1 is in 1 of 20 images: sqrt(0.2 / 0.05) = 2.
    found = repeat_factors(records, classes=3, threshold=0.2)
    assert found.tolist() == pytest.approx([1] * 14 + [2] + [1] * 5)
    assert images_an_epoch(found) == 21


@pytest.mark.parametrize("records", [[], [record(), record()], [record(0), record(0, 0)]])
def test_nothing_rare_is_nothing_repeated(records: list[Record]) -> None:
    factors = repeat_factors(records, classes=2, threshold=0.5)
    assert factors.tolist() == [1.0] * len(records)
    assert draw_repeated(factors, seed=3, epoch=0).tolist() == list(range(len(records)))


def test_each_image_comes_as_often_as_its_factor_says() -> None:
    factors = np.array([1.0, 2.5, 1.25, 1.0, 3.0, 1.5])
    total = images_an_epoch(factors)
    assert total == 11
    seen = np.zeros(6)
    for epoch in range(400):
        drawn = draw_repeated(factors, seed=1, epoch=epoch)
        counts = np.bincount(drawn, minlength=6)
        assert len(drawn) == total
        assert (counts >= 1).all()
        assert (np.abs(counts - factors * total / factors.sum()) < 1).all()
        seen += counts
    assert (seen / 400).tolist() == pytest.approx(
        (factors * total / factors.sum()).tolist(), abs=0.1
    )


def test_the_same_seed_and_epoch_give_the_same() -> None:
    factors = np.linspace(1, 3, 40)
    first, again, next_epoch, other = (
        draw_repeated(factors, seed=seed, epoch=epoch).tolist()
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert first == again
    assert first not in (next_epoch, other)


def test_repeated_images_differ_by_their_number() -> None:
    sizes = np.full((3, 2), 64)
    chosen = np.array([0, 2, 2, 2])
    tasks = plan_training(
        sizes, Preparation(shorter=64, longer=64), batch=2, seed=0, epoch=0, chosen=chosen
    )
    pairs = [pair for task in tasks for pair in zip(task.indices, task.repeats, strict=True)]
    assert sorted(pairs) == [(0, 0), (2, 0), (2, 1), (2, 2)]

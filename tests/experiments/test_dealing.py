"""Images dealt out into parts: by hand, and by the laws that every dealing keeps."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from foveal.data.dataset import ANY_CLASS, Dataset, Record
from foveal.experiments.dealing import deal


def make_data(*images: list[int], classes: int = 3) -> Dataset:
    """A data set whose images show objects of these classes."""
    records = [
        Record(
            Path(f"/nowhere/{number}.jpg"),
            64,
            64,
            np.tile(np.array([[1, 2, 30, 40]], np.float32), (len(labels), 1)),
            np.array(labels, np.int64),
            np.array([label == ANY_CLASS for label in labels], np.bool_),
        )
        for number, labels in enumerate(images)
    ]
    return Dataset(tuple(records), tuple("abc"[:classes]), Path("/nowhere"))


def alone(data: Dataset) -> list[list[int]]:
    return [[index] for index in range(len(data))]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("images", [5, 12, 23])
def test_folds_are_equally_large_and_share_what_is_rare(images: int, seed: int) -> None:
    rare = [[1]] * 5
    data = make_data(*rare, *[[0, 0]] * (images - 5))
    parts = deal(data, alone(data), shares=[0.2] * 5, seed=seed)
    assert sorted(chain(*parts)) == list(range(images))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert [sum(index < 5 for index in part) for part in parts] == [1] * 5


def test_images_without_objects_are_shared_out_too() -> None:
    data = make_data(*[[]] * 4, *[[ANY_CLASS]] * 4, *[[0], [1]] * 8)
    parts = deal(data, alone(data), shares=[0.25] * 4, seed=0)
    assert [sum(index < 8 for index in part) for part in parts] == [2] * 4
    assert [sum(index >= 8 and index % 2 == 0 for index in part) for part in parts] == [2] * 4
    empty = make_data(*[[]] * 4)
    assert sorted(map(len, deal(empty, alone(empty), shares=[0.5, 0.5], seed=0))) == [2, 2]


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_no_part_stays_empty(seed: int) -> None:
    generator = np.random.default_rng(seed)
    data = make_data(*[generator.integers(0, 3, generator.integers(4)).tolist() for _ in range(30)])
    cuts = np.sort(generator.choice(np.arange(1, 30), 6, replace=False))
    groups = [part.tolist() for part in np.split(generator.permutation(30), cuts)]
    parts = deal(data, groups, shares=[0.2] * 5, seed=seed)
    assert sorted(chain(*parts)) == list(range(30))
    assert all(parts)
    for group in groups:
        assert sum(set(group) <= set(part) for part in parts) == 1


def test_shares_may_differ() -> None:
    data = make_data(*[[0], [1]] * 20)
    parts = deal(data, alone(data), shares=[0.25, 0.25, 0.5], seed=3)
    assert [len(part) for part in parts] == [10, 10, 20]
    assert [sum(index % 2 for index in part) for part in parts] == [5, 5, 10]


def test_the_seed_decides() -> None:
    data = make_data(*[[0]] * 20)
    dealt = [deal(data, alone(data), shares=[0.5, 0.5], seed=seed) for seed in (0, 0, 1)]
    assert dealt[0] == dealt[1] != dealt[2]

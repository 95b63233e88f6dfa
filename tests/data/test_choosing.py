"""Which images are drawn to be looked at."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from foveal.data.choosing import draw_images, rarest_first
from foveal.data.dataset import Dataset, Record
from foveal.errors import DataError


def dataset(*labels: list[int], ignored: bool = False) -> Dataset:
    records = tuple(
        Record(
            Path(f"/{number}.png"),
            9,
            9,
            np.tile(np.float32([0, 0, 4, 4]), (len(each), 1)),
            np.array(each, np.int64),
            np.full(len(each), ignored),
        )
        for number, each in enumerate(labels)
    )
    return Dataset(records, ("common", "rare", "never"), Path("/"))


MANY = dataset(*[[0]] * 20, [0, 1], [1], [], [])


def test_each_class_in_turn_the_rarest_first() -> None:
    assert rarest_first(MANY) == [1, 0]
    drawn = list(draw_images(MANY))
    assert [choice.label for choice in drawn[:4]] == [1, 0, 1, 0]
    assert {drawn[0].image, drawn[2].image} == {20, 21}
    assert sorted(choice.image for choice in drawn) == list(range(24))
    for choice in drawn:
        labels = MANY.records[choice.image].labels.tolist()
        assert choice.label in labels if choice.label is not None else not labels


def test_images_without_objects_are_a_few_of_the_first() -> None:
    first = list(islice(draw_images(MANY), 8))
    assert [choice.label for choice in first].count(None) == 1
    assert [choice.label for choice in draw_images(dataset([], []))] == [None, None]
    assert [choice.label for choice in draw_images(dataset([0], ignored=True))] == [None]
    assert list(draw_images(dataset())) == []


def test_the_seed_draws() -> None:
    assert list(draw_images(MANY, seed=3)) == list(draw_images(MANY, seed=3))
    assert list(draw_images(MANY, seed=3)) != list(draw_images(MANY, seed=4))


def test_images_that_show_a_class() -> None:
    assert {choice.image for choice in draw_images(MANY, classes=["rare"])} == {20, 21}
    assert list(draw_images(MANY, classes=["never"])) == []
    with pytest.raises(DataError, match=r"no class 'rar'\. Expected .*Did you mean 'rare'\?"):
        draw_images(MANY, classes=["rar"])

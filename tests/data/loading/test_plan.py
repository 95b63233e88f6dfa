"""The plan: every image once, few mixed batches, the same for any number of processes."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.data.loading.plan import image_generator, part_of_process, plan_training
from foveal.data.transforms.preparation import Preparation
from foveal.errors import SettingsError

PREPARATION = Preparation(shorter=128, longer=256)
SHAPES = [(100, 100), (150, 100), (100, 150), (300, 100)]


def sizes_of(counts: list[int]) -> np.ndarray:
    rows = [SHAPES[kind] for kind, count in enumerate(counts) for _ in range(count)]
    return np.array(rows, np.int64).reshape(-1, 2)


counts = st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any)


@settings(max_examples=100, deadline=None)
@given(counts, st.integers(1, 7), st.integers(-5, 2**40), st.integers(0, 50), st.booleans())
def test_law_every_image_once(counts, batch, seed, epoch, turning):
    sizes = sizes_of(counts)
    plan = plan_training(
        sizes, PREPARATION, batch=batch, seed=seed, epoch=epoch, quarter_turns=turning
    )
    assert len(plan) == math.ceil(len(sizes) / batch)
    assert all(len(task.indices) == batch for task in plan)
    drawn = Counter(index for task in plan for index in task.indices)
    assert set(drawn) == set(range(len(sizes)))
    assert sum(drawn.values()) - len(drawn) == -len(sizes) % batch
    seen = Counter()
    for task in plan:
        needed = []
        for index, repeat, turns in zip(task.indices, task.repeats, task.turns, strict=True):
            assert repeat == seen[index]
            seen[index] += 1
            assert turning or turns == 0
            width, height = sizes[index][:: -1 if turns % 2 else 1]
            needed.append(PREPARATION.size_for(int(width), int(height)))
        assert task.size == tuple(np.max(needed, axis=0))


def test_images_of_one_input_size_come_together():
    plan = plan_training(sizes_of([40, 40, 40, 0]), PREPARATION, batch=8, seed=0, epoch=0)
    assert len({task.size for task in plan}) == 3
    kinds = [index // 40 for task in plan for index in task.indices[:1]]
    assert kinds != sorted(kinds)  # in a random order


def test_same_seed_and_epoch_give_the_same_plan_and_others_another():
    def plan(seed: int, epoch: int) -> list:
        return plan_training(sizes_of([9, 9, 9, 9]), PREPARATION, batch=4, seed=seed, epoch=epoch)

    assert plan(1, 2) == plan(1, 2)
    assert plan(1, 2) != plan(1, 3)
    assert plan(1, 2) != plan(2, 2)


def test_no_images_no_batches():
    empty = np.zeros((0, 2), np.int64)
    assert plan_training(empty, PREPARATION, batch=4, seed=0, epoch=0) == []


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_together_make_the_same_batches(processes):
    plan = plan_training(sizes_of([9, 9, 9, 9]), PREPARATION, batch=8, seed=0, epoch=0)
    shares = [part_of_process(plan, batch=8, rank=r, processes=processes) for r in range(processes)]
    for step, task in enumerate(plan):
        parts = [share[step] for share in shares]
        assert sum((part.indices for part in parts), ()) == task.indices
        assert {part.size for part in parts} == {task.size}


def test_batch_that_can_not_be_divided_is_refused():
    with pytest.raises(SettingsError, match=r"training\.batch = 6 .* multiple of 4"):
        part_of_process([], batch=6, rank=0, processes=4)


def test_shorter_sides_are_drawn_for_whole_batches():
    plan = plan_training(
        sizes_of([40, 0, 0, 0]), PREPARATION, batch=4, seed=0, epoch=0, shorter_sides=(64, 96, 128)
    )
    assert {task.shorter for task in plan} == {64, 96, 128}
    assert all(task.size == (task.shorter, task.shorter) for task in plan)


def test_random_choices_of_images_are_their_own():
    draws = {
        (epoch, index, repeat): image_generator(0, epoch, index, repeat).random()
        for epoch in range(3)
        for index in range(3)
        for repeat in range(2)
    }
    assert len(set(draws.values())) == len(draws)
    assert image_generator(7, 1, 2).random() == image_generator(7, 1, 2).random()
    assert image_generator(-7, 1, 2).random() != image_generator(7, 1, 2).random()

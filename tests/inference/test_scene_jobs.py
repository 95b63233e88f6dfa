"""Bands in one process and in several."""

from __future__ import annotations

import os

import numpy as np
import pytest
from tests.inference.bands import TASKS, Job, Worker

from foveal.errors import FovealError, ModelFileError
from foveal.inference.scene_jobs import (
    BandOutcome,
    BandTask,
    available_cores,
    detect_in_processes,
    detect_one_by_one,
)


def by_task(outcomes: list[BandOutcome]) -> dict[BandTask, np.ndarray]:
    return {each.task: each.arrays["boxes"] for each in outcomes if each.arrays is not None}


def test_two_processes_find_what_one_finds():
    windows: list[int] = []
    one = list(detect_one_by_one(Worker(None), TASKS, windows.append))
    assert [each.task for each in one] == TASKS
    assert sum(windows) == 3 * len(TASKS)
    two = list(detect_in_processes(Job(), TASKS, jobs=2))
    assert len(two) == len(TASKS)
    found = by_task(two)
    for task, boxes in by_task(one).items():
        np.testing.assert_array_equal(found[task], boxes)
    processes = {int(each.arrays["process"]) for each in two}
    assert os.getpid() not in processes
    assert 1 <= len(processes) <= 2
    assert {int(each.arrays["threads"]) for each in two} == {max(1, available_cores() // 2)}


def test_of_a_broken_scene_no_further_band_is_looked_at():
    broken = (BandTask(1, 2),)
    one = list(detect_one_by_one(Worker(None, broken), TASKS))
    assert [each.task for each in one if each.error] == [BandTask(1, 2)]
    assert len(by_task(one)) == 5 + 2 + 5
    two = list(detect_in_processes(Job(broken), TASKS, jobs=2))
    assert [str(each.error) for each in two if each.error] == ["scene 1 can't be read at band 2"]
    assert {task for task in by_task(two) if task.scene != 1} == {
        task for task in TASKS if task.scene != 1
    }


def test_no_bands_are_nothing_to_do():
    assert list(detect_one_by_one(Worker(None), [])) == []
    assert list(detect_in_processes(Job(), [], jobs=2)) == []


def test_a_model_that_can_not_be_opened_is_told_as_it_is():
    with pytest.raises(ModelFileError, match=r"cells\.safetensors: no such file"):
        list(detect_in_processes(Job(opens=False), TASKS, jobs=2))


def test_a_process_that_is_killed_is_told():
    with pytest.raises(FovealError, match=r"ended from outside.*--resume"):
        list(detect_in_processes(Job(deadly=(BandTask(0, 1),)), TASKS, jobs=2))

"""Work in several processes whose end is seen."""

from __future__ import annotations

import multiprocessing
import os
import signal
from functools import partial

import pytest

from foveal.data.checks import images
from foveal.data.images.headers import Header
from foveal.errors import ModelFileError
from foveal.processes import ProcessEndedError, map_in_processes


def open_worker(*, dies: bool = False, fails: bool = False):
    """Makes what squares numbers, or ends before."""
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
    if fails:
        raise ModelFileError("cells.safetensors: no such file.")
    return square


def square(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 13:
        raise ValueError("an unlucky number")
    return number * number


def open_decoder():
    """Decodes nothing, and is killed by one of the images."""
    return decode


def decode(path: str) -> Header:
    square(-1 if "huge" in path else 1)
    return Header(4, 3)


@pytest.fixture(autouse=True)
def nothing_stays():
    yield
    assert not multiprocessing.active_children()


def test_each_task_has_its_answer_and_is_asked_for_late():
    asked = []

    def tasks():
        for number in range(12):
            asked.append(number)
            yield number

    answers = map_in_processes(open_worker, tasks(), processes=2)
    first = next(answers)
    assert len(asked) <= 4
    assert dict([first, *answers]) == {number: number**2 for number in range(12)}
    assert asked == list(range(12))


def test_no_tasks_are_nothing_to_do():
    assert list(map_in_processes(open_worker, [], processes=0)) == []


def test_who_asks_no_further_ends_the_processes():
    answers = map_in_processes(open_worker, range(12), processes=2)
    next(answers)
    answers.close()


def test_an_error_comes_here_as_it_is_with_its_place():
    with pytest.raises(ValueError, match="an unlucky number") as caught:
        list(map_in_processes(open_worker, [13], processes=1))
    assert "in square" in caught.value.__notes__[0]


def test_who_can_not_begin_tells_it_while_tasks_are_on_their_way():
    with pytest.raises(ModelFileError, match="no such file"):
        list(map_in_processes(partial(open_worker, fails=True), range(9), processes=2))


@pytest.mark.parametrize("dies", [False, True], ids=["at a task", "before its first"])
def test_a_killed_process_is_told_with_its_task(dies):
    with pytest.raises(ProcessEndedError) as caught:
        list(map_in_processes(partial(open_worker, dies=dies), [1, -5, 2, 3], processes=1))
    assert caught.value.task == (1 if dies else -5)


def test_an_image_that_ends_its_process_is_named_and_the_others_are_looked_at(monkeypatch):
    monkeypatch.setattr(images, "_decoder", open_decoder)
    paths = [f"{name}.png" for name in ("a", "huge", "b", "c", "d")]
    seen = dict(images._decoded(paths, 2))
    assert sorted(seen) == sorted(paths)
    assert "ended from outside" in seen["huge.png"].fault
    assert [seen[path].fault for path in paths if path != "huge.png"] == [""] * 4

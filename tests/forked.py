"""Processes that begin with torch and foveal imported, which takes five seconds elsewhere.

They are forked from one clean process that has done nothing but import, so they are like new ones.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import NamedTuple

_CAN_FORK = "forkserver" in multiprocessing.get_all_start_methods()
_CONTEXT = multiprocessing.get_context("forkserver" if _CAN_FORK else "spawn")
if _CAN_FORK:
    # What `train` and `predict` load, but OpenVINO and NNCF: test_telemetry.py watches them come.
    _CONTEXT.set_forkserver_preload(
        [
            *("torch", "torchvision", "accelerate", "matplotlib.figure", "jinja2"),
            *("rasterio", "pyproj", "pyogrio", "shapely"),
            *("foveal.detector", "foveal.training.trainer", "foveal.cli", "foveal.reports.scene"),
            *("foveal.inference.scenes", "foveal.outputs.scene_pictures"),
        ]
    )


class Ended(NamedTuple):
    """What a process left."""

    code: int | None
    said: str
    complaint: str


def run(
    function: Callable[..., None], *arguments: object, folder: Path, processes: int = 1
) -> list[Ended]:
    """Call a module's function in new processes at once and wait until all have ended.

    Several have the variables that torchrun would give them, and where one fails, the others are
    ended as it would.

    Args:
        function: what is called; it raises SystemExit for an exit code.
        arguments: for the function.
        folder: where what they say is kept.
        processes: how many.
    """
    variables = _variables(processes) if processes > 1 else [{}]
    files = [(folder / f"said-{n}", folder / f"complaint-{n}") for n in range(processes)]
    started = [
        _CONTEXT.Process(target=_call, args=(own, *paths, function, arguments))
        for own, paths in zip(variables, files, strict=True)
    ]
    for process in started:
        process.start()
    until = time.monotonic() + 300
    going = list(started)
    while going and connection.wait([process.sentinel for process in going], _left(until)):
        going = [process for process in going if process.exitcode is None]
        if any(process.exitcode for process in started):
            break
    for process in going:
        process.terminate()
    for process in started:
        process.join()
    return [
        Ended(process.exitcode, *(path.read_text() for path in paths))
        for process, paths in zip(started, files, strict=True)
    ]


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())


def _variables(processes: int) -> list[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    sizes = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        {"RANK": str(rank), "LOCAL_RANK": str(rank), **sizes, **address}
        for rank in range(processes)
    ]


def _call(
    variables: dict[str, str],
    said: Path,
    complaint: Path,
    function: Callable[..., None],
    arguments: tuple[object, ...],
) -> None:
    import torch

    os.environ |= variables
    for path, stream in ((said, sys.stdout), (complaint, sys.stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    torch.set_num_threads(1)
    function(*arguments)

"""How long convolutions take on this processor in float32 and in bfloat16.

Measured once for each machine and version of torch, and remembered in precision.json in the user's
cache folder (`foveal.files.cache_folder`). A file that can't be read or written only means
measuring again.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from foveal.acceleration.functions import FasterFunctions
from foveal.errors import FovealError
from foveal.files import cache_folder, write_file

SECONDS = 0.2
"""As long as measuring may take, all in all."""
STAGES = ((16, 8), (64, 16), (128, 32), (256, 32))
"""Channels, and height and width, of what is timed: larger ones as long as there is time."""
ROUNDS = 5
FEWEST_ROUNDS = 2
HOPELESS = 4.0
"""Where bfloat16 takes so many times as long on something small, nothing larger is tried: without
instructions for it, it can take hundreds of times as long."""
CLEARLY_FASTER = 0.9
"""bfloat16, which rounds more, is taken where it takes at most this part of float32's time."""


class Timing(NamedTuple):
    """Seconds that a 3x3 and a 1x1 convolution take, forward and backward."""

    float32: float
    bf16: float

    @property
    def ratio(self) -> float:
        """How many times as long bfloat16 takes."""
        return self.bf16 / self.float32

    @property
    def prefers_bf16(self) -> bool:
        """Whether bfloat16 is clearly faster."""
        return self.ratio <= CLEARLY_FASTER


def remembered_timing() -> Timing:
    """What was measured on this machine; measured now if it never was."""
    return _timing_of(f"{_processor()}, torch {torch.__version__}")


@cache
def _timing_of(key: str) -> Timing:
    file = _file()
    timing = None if file is None else _read(file).get(key)
    if timing is None:
        timing = measure()
        if file is not None:
            _write(file, {**_read(file), key: timing})
    return timing


def measure() -> Timing:
    """Time the convolutions in both precisions, in turn; each has the best of its times.

    By one thread: on a busy machine several would be measured waiting for one another.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            return _measure()
    finally:
        torch.set_num_threads(threads)


def _measure() -> Timing:
    for work in _works(0):
        work()  # what torch does once in a process is not counted
    end = time.perf_counter() + SECONDS
    best = Timing(math.inf, math.inf)
    for stage in range(len(STAGES)):
        if stage and (best.ratio > HOPELESS or not _fits(best, _growth(stage), end)):
            break
        in_float32, in_bf16 = _works(stage)
        times = [Timing(_seconds(in_float32), _seconds(in_bf16))]
        while len(times) < ROUNDS and _fits(times[-1], 1, end):
            times.append(Timing(_seconds(in_float32), _seconds(in_bf16)))
        if stage and len(times) < FEWEST_ROUNDS:
            break  # a single time may be that of a stall: the smaller stage's are better
        best = Timing(min(each.float32 for each in times), min(each.bf16 for each in times))
    return best


def _works(stage: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """What is timed: in float32 and in bfloat16."""
    channels, side = STAGES[stage]
    return _work(channels, side, bf16=False), _work(channels, side, bf16=True)


def _work(channels: int, side: int, *, bf16: bool) -> Callable[[], None]:
    """Two convolutions as training computes them: float32 with all that makes it faster."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        values = torch.randn(*shape, generator=generator, device="cpu", dtype=torch.float32)
        return values.contiguous(memory_format=torch.channels_last)

    features = draw(1, channels, side, side)
    features = features.bfloat16() if bf16 else features
    features.requires_grad_()
    weights = [draw(channels, channels, size, size).requires_grad_() for size in (3, 1)]

    def work() -> None:
        for weight, padding in zip(weights, (1, 0), strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16), FasterFunctions():
                output = F.conv2d(features, weight, padding=padding)
            torch.autograd.grad(output.sum(), (features, weight))

    return work


def _growth(stage: int) -> float:
    """How many times as many operations as the stage before one has."""
    (before, side_before), (channels, side) = STAGES[stage - 1 : stage + 1]
    return (channels / before) ** 2 * (side / side_before) ** 2


def _fits(timing: Timing, times: float, end: float) -> bool:
    """Whether there is time for something that takes so many times as long as was measured."""
    return time.perf_counter() + sum(timing) * times <= end


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _processor() -> str:
    """Name and features of the processor; virtual machines' names alone don't tell them apart."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        values = {
            name.strip(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        features = values.get("flags") or values.get("Features") or ""
        digest = hashlib.sha256(features.encode()).hexdigest()[:8]
        return f"{values.get('model name') or platform.machine()} {digest}"
    return platform.processor() or platform.machine()


def _file() -> Path | None:
    """Where timings are remembered; None where there is no home."""
    folder = cache_folder()
    return None if folder is None else folder / "precision.json"


def _read(file: Path) -> dict[str, Timing]:
    """All timings that the file holds and that make sense."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {
            str(key): Timing(float(values["float32"]), float(values["bf16"]))
            for key, values in content.items()
            if 0 < values["float32"] < math.inf and 0 < values["bf16"] < math.inf
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _write(file: Path, timings: dict[str, Timing]) -> None:
    """Put a new file in the place of the old one at one stroke, or leave it."""
    content = json.dumps({key: timing._asdict() for key, timing in timings.items()}, indent=1)
    with suppress(FovealError):
        write_file(file, content)

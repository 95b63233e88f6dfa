"""How much memory something takes at most."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import queue as queues
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.lib.machine import gpu_name, kilobytes


def peak_megabytes(
    function: Callable[..., object], *arguments: Any, device: str = "auto", whole: bool = False
) -> tuple[float, bool]:
    """How much memory a function takes at most (Linux).

    `function(*arguments)` makes the inputs and returns what is to be measured, a callable. On a CPU
    that happens in a process of its own, which may take three quarters of the memory that is free.

    Args:
        function: of a module's top level, as its arguments are sent to another process.
        arguments: for it.
        device: whose memory: 'cpu' the process's, 'cuda' what torch allocates there; 'auto' takes
            the GPU where there is one.
        whole: count what `function` itself makes and leaves too (weights, for instance), not only
            how far the callable rises above it.

    Returns:
        Megabytes, and whether it came to its end: where not, it asked for more than these.

    Raises:
        RuntimeError: the process ended without a result.
    """
    return peaks_megabytes(function, [arguments], device=device, whole=whole)[0]


def peaks_megabytes(
    function: Callable[..., object],
    points: Sequence[tuple[Any, ...]],
    *,
    device: str = "auto",
    whole: bool = True,
) -> list[tuple[float, bool]]:
    """The same for several arguments, one after the other in one process, from small to large."""
    if device == "auto":
        device = "cuda" if gpu_name() else "cpu"
    if device == "cuda":
        return [_peak_on_gpu(functools.partial(function, *point), whole=whole) for point in points]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_measure_peaks, args=(queue, whole, function, points))
    process.start()
    while True:
        try:
            peaks: list[tuple[float, bool]] = queue.get(timeout=1)
            break
        except queues.Empty:
            if not process.is_alive():
                raise RuntimeError(
                    f"{function.__name__}: the process that measures memory ended with "
                    f"code {process.exitcode}"
                ) from None
    process.join()
    return peaks


def _peak_on_gpu(make: Callable[[], Callable[[], object]], *, whole: bool) -> tuple[float, bool]:
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    try:
        work = make()
        torch.cuda.synchronize()
        if not whole:
            before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        return torch.cuda.get_device_properties(0).total_memory / 2**20, False
    return (torch.cuda.max_memory_allocated() - before) / 2**20, True


def _measure_peaks(
    queue: Any, whole: bool, function: Callable[..., Any], points: Sequence[tuple[Any, ...]]
) -> None:
    before = kilobytes("/proc/self/status", "VmRSS") if whole else None
    peaks = []
    for arguments in points:
        peaks.append(_peak_on_cpu(functools.partial(function, *arguments), before=before))
        gc.collect()
    queue.put(peaks)


def _peak_on_cpu(
    make: Callable[[], Callable[[], object]], *, before: int | None
) -> tuple[float, bool]:
    """`before`: kilobytes that don't count; None for those in use when the work begins."""
    work = make()
    Path("/proc/self/clear_refs").write_text("5")
    start = kilobytes("/proc/self/status", "VmRSS") if before is None else before
    spare = kilobytes("/proc/meminfo", "MemAvailable") * 3 // 4
    size = (kilobytes("/proc/self/status", "VmSize") + spare) * 1024
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size, hard))
    try:
        work()
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        return spare / 1024, False
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return (kilobytes("/proc/self/status", "VmHWM") - start) / 1024, True


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    names = (type(error).__name__, type(error.__cause__).__name__)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in str(error)
        or "DeviceMemoryError" in names
    )

"""What the benchmarks share: contestants in turn in one run, memory peaks, and where results go."""

from __future__ import annotations

import json
import multiprocessing
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """The machine in words, and the versions that matter."""
    import torch

    packages = ("torch", "torchvision", "timm", "opencv-python-headless", "numpy")
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": versions,
        "commit": _commit(),
    }


def interleave(
    contestants: dict[str, Callable[[], object]], *, rounds: int = 7, warmup: int = 1
) -> dict[str, dict[str, float]]:
    """Run the contestants in turn, so that a drifting machine touches all of them alike.

    Returns:
        For each name the seconds of its runs: min, median, max.
    """
    import torch

    def run(contestant: Callable[[], object]) -> float:
        start = time.perf_counter()
        contestant()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for _ in range(warmup):
        for contestant in contestants.values():
            run(contestant)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            seconds[name].append(run(contestant))
    return {
        name: {"min": min(runs), "median": statistics.median(runs), "max": max(runs)}
        for name, runs in seconds.items()
    }


def peak_megabytes(function: Callable[..., object], *arguments: Any) -> tuple[float, bool]:
    """How far a function's memory rises above where it began, in a process of its own (Linux).

    `function(*arguments)` makes the inputs and returns what is to be measured, a callable. On a CPU
    it may take three quarters of the memory that is free.

    Returns:
        Megabytes, and whether it came to its end: where not, it asked for more than these.
    """
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_measure_peak, args=(queue, function, arguments))
    process.start()
    peak, complete = queue.get()
    process.join()
    return peak, complete


def _measure_peak(queue: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch

    work = function(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        queue.put(((torch.cuda.max_memory_allocated() - before) / 2**20, True))
        return
    Path("/proc/self/clear_refs").write_text("5")
    before = _kilobytes("/proc/self/status", "VmRSS")
    spare = _kilobytes("/proc/meminfo", "MemAvailable") * 3 // 4
    size = (_kilobytes("/proc/self/status", "VmSize") + spare) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    try:
        work()
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        queue.put((spare / 1024, False))
        return
    queue.put(((_kilobytes("/proc/self/status", "VmHWM") - before) / 1024, True))


def _kilobytes(file: str, key: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise RuntimeError(f"no {key} in {file}")


def write_result(name: str, rows: list[dict[str, Any]], **more: Any) -> Path:
    """Write a benchmark's rows as JSON beside the machine that they were measured on.

    Absolute paths among the options are cut to their last part: they say nothing elsewhere.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    options = {key: _portable(value) for key, value in more.pop("options", {}).items()}
    content = {
        "benchmark": name,
        "machine": machine(),
        **({"options": options} if options else {}),
        **more,
        "rows": rows,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def _portable(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("/"):
        return Path(value).name
    return value


def print_table(rows: list[dict[str, Any]]) -> None:
    """Rows of one kind as a plain table."""
    columns = list(rows[0])
    cells = [[_text(row[column]) for column in columns] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(columns)]
    for line in [columns, *cells]:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    call = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(call, capture_output=True, text=True, cwd=Path(__file__).parent)
    return found.stdout.strip() or "unknown"

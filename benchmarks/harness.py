"""What the benchmarks share: contestants in turn in one run, memory peaks, and where results go."""

from __future__ import annotations

import functools
import gc
import json
import multiprocessing
import os
import platform
import queue as queues
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

PACKAGES = (
    "torch", "torchvision", "triton", "timm", "opencv-python-headless", "numpy", "openvino", "nncf",
    "onnx", "onnxruntime", "onnxruntime-gpu",
)  # fmt: skip

FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16",
    "amx_int8", "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip
"""What a processor may have, as Linux names it, that makes matrix products faster."""

Seconds = dict[str, float]


def machine() -> dict[str, Any]:
    """The machine in words, and the versions that matter."""
    import torch

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        "processor": _processor(),
        "features": _features(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gigabytes": round(_kilobytes("/proc/meminfo", "MemTotal") / 2**20, 1),
        "gpu": _gpu(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": versions,
        "commit": _commit(),
    }


def interleave(
    contestants: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 7,
    warmup: int = 1,
    repeat: int = 1,
) -> dict[str, Seconds]:
    """Run the contestants in turn, so that a drifting machine touches all of them alike.

    Args:
        contestants: what is measured, by name.
        rounds: how often each has its turn.
        warmup: turns before those that count.
        repeat: calls in one turn, for what is over too soon to be measured.

    Returns:
        For each name the seconds of one call: min, median, max.
    """

    def run(contestant: Callable[[], object]) -> float:
        synchronize()
        start = time.perf_counter()
        for _ in range(repeat):
            contestant()
        synchronize()
        return (time.perf_counter() - start) / repeat

    for _ in range(warmup):
        for contestant in contestants.values():
            run(contestant)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            seconds[name].append(run(contestant))
    return {name: summary(runs) for name, runs in seconds.items()}


def synchronize() -> None:
    """Wait until a GPU, where there is one, has done all that it was asked for."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def summary(runs: Sequence[float]) -> Seconds:
    """Least, median and most of several runs."""
    return {"min": min(runs), "median": statistics.median(runs), "max": max(runs)}


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
        device = "cuda" if _gpu() else "cpu"
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
    before = _kilobytes("/proc/self/status", "VmRSS") if whole else None
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
    start = _kilobytes("/proc/self/status", "VmRSS") if before is None else before
    spare = _kilobytes("/proc/meminfo", "MemAvailable") * 3 // 4
    size = (_kilobytes("/proc/self/status", "VmSize") + spare) * 1024
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size, most))
    try:
        work()
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        return spare / 1024, False
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return (_kilobytes("/proc/self/status", "VmHWM") - start) / 1024, True


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    names = (type(error).__name__, type(error.__cause__).__name__)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in str(error)
        or "DeviceMemoryError" in names
    )


def _kilobytes(file: str, key: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise RuntimeError(f"no {key} in {file}")


def write_result(
    name: str, rows: list[dict[str, Any]], *, folder: Path | None = None, **more: Any
) -> Path:
    """Write a benchmark's rows as JSON beside the machine that they were measured on.

    Absolute paths among the options are cut to their last part: they say nothing elsewhere.
    """
    folder = folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
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
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str) and value.startswith("/"):
        return Path(value).name
    return value


def print_table(rows: list[dict[str, Any]], *, title: str = "") -> None:
    """Rows of one kind as a plain table."""
    columns = list(rows[0])
    cells = [[_text(row[column]) for column in columns] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(columns)]
    if title:
        print(f"\n{title}")
    for line in [columns, *cells]:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def print_machine() -> None:
    """One line: on what, with what, of which commit."""
    found = machine()
    processor = f"{found['processor']} ({found['threads']} of {found['cores']} cores)"
    named = ("torch", "torchvision", "openvino", "onnxruntime")
    versions = ", ".join(f"{name} {found['versions'][name] or 'not there'}" for name in named)
    print(f"{found['gpu'] or processor}; {versions}; commit {found['commit']}", flush=True)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    """The name, and family and model where the name hides them."""
    found = {key: _cpuinfo(key) for key in ("model name", "cpu family", "model")}
    if not found["model name"]:
        return platform.processor() or platform.machine()
    return f"{found['model name']}, family {found['cpu family']} model {found['model']}"


def _features() -> list[str]:
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return [name for name in FEATURES if name in flags]


def _cpuinfo(key: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _commit() -> str:
    """The commit, with a plus where files of the project were changed after it."""
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "..")
    return f"{commit}+" if commit and changed else commit or "unknown"


def _git(*arguments: str) -> str:
    try:
        call = ["git", *arguments]
        found = subprocess.run(call, capture_output=True, text=True, cwd=Path(__file__).parent)
    except OSError:
        return ""
    return found.stdout.strip()

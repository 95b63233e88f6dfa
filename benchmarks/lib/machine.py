"""On what a benchmark ran: the machine, the versions and the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from foveal.machine import cpuinfo, processor_name

PACKAGES = (
    "torch", "torchvision", "triton", "timm", "opencv-python-headless", "numpy", "openvino", "nncf",
    "onnx", "onnxruntime", "onnxruntime-gpu",
)  # fmt: skip

FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16",
    "amx_int8", "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip
"""What a processor may have, as Linux names it, that makes matrix products faster."""


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
        "processor": processor_name(),
        "features": _features(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gigabytes": round(kilobytes("/proc/meminfo", "MemTotal") / 2**20, 1),
        "gpu": gpu_name(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": versions,
        "commit": _commit(),
    }


def print_machine() -> None:
    """One line: on what, with what, of which commit."""
    here = machine()
    processor = f"{here['processor']} ({here['threads']} of {here['cores']} cores)"
    named = ("torch", "torchvision", "openvino", "onnxruntime")
    versions = ", ".join(f"{name} {here['versions'][name] or 'not there'}" for name in named)
    print(f"{here['gpu'] or processor}; {versions}; commit {here['commit']}", flush=True)


def gpu_name() -> str | None:
    """The GPU that torch sees; None where it sees none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def kilobytes(file: str, key: str) -> int:
    """A line of one of Linux's files about processes or memory.

    Raises:
        RuntimeError: the file has no such line.
    """
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise RuntimeError(f"no {key} in {file}")


def _features() -> list[str]:
    flags = set((cpuinfo("flags") or cpuinfo("Features")).split())
    return [name for name in FEATURES if name in flags]


def _commit() -> str:
    """The commit, with a plus where files of the project were changed after it."""
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/")
    return f"{commit}+" if commit and changed else commit or "unknown"


def _git(*arguments: str) -> str:
    try:
        call = ["git", *arguments]
        done = subprocess.run(call, capture_output=True, text=True, cwd=Path(__file__).parent)
    except OSError:
        return ""
    return done.stdout.strip()

"""Say which of the project's packages are missing here, and which GPU there is.

    python -m benchmarks.lib.packages [--gpu]

Ends with code 1 where one is missing and, with --gpu, with code 3 where torch sees no CUDA device.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import tomllib
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
NO_GPU = 3
TESTING = ("pytest", "pytest-timeout")
ON_CPUS = ("openvino", "nncf")
"""Predict on CPUs only: a machine with a GPU can do without."""
EXPORTING = ("onnx", "onnxscript", "onnxruntime-gpu")
"""Without them exports are not measured on a GPU."""


def wanted(*, gpu: bool = False) -> dict[str, str]:
    """What the project and its tests need, here or on a GPU: package names, and which versions."""
    project = tomllib.loads(PROJECT.read_text())
    groups = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    versions_wanted = {}
    for requirement in groups:
        if not isinstance(requirement, str):  # another group, of what documents need
            continue
        name, versions = re.fullmatch(r"([\w.-]+)(.*)", requirement).groups()
        if gpu and name in ON_CPUS:
            continue
        if requirement in project["project"]["dependencies"] or name in TESTING:
            versions_wanted[name] = versions
    return versions_wanted


def missing(names: Iterable[str]) -> list[str]:
    """Those that are not installed."""
    absent = []
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            absent.append(name)
    return absent


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", action="store_true", help="there must be a CUDA device")
    options = parser.parse_args(arguments)
    packages = wanted(gpu=options.gpu)
    absent = missing(packages)
    present = ", ".join(f"{name} {version(name)}" for name in packages if name not in absent)
    print(f"Python {platform.python_version()}; {present}")
    if absent:
        named = " ".join(f"'{name}{packages[name]}'" for name in absent)
        print(f"MISSING: {', '.join(absent)}. Install with: pip install {named}")
    device = "" if "torch" in absent else gpu_name()
    if options.gpu:
        if lacking := missing(EXPORTING):
            print(f"not there, so that exports are not measured: {', '.join(lacking)}")
        print(f"GPU: {device}" if device else "MISSING: torch sees no CUDA device")
    return NO_GPU if options.gpu and not device else int(bool(absent))


def gpu_name() -> str:
    """The GPU and the CUDA that torch was built for; '' where it sees none."""
    import torch

    if not torch.cuda.is_available():
        return ""
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


if __name__ == "__main__":
    sys.exit(main())

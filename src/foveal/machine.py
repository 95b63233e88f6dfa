"""On which machine something was measured: processor, cores, GPU and versions, in words."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from foveal.text import counted

PACKAGES = ("foveal", "torch", "torchvision", "timm", "numpy", "openvino")
"""Those whose versions change what is measured."""

_PROCESSOR = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Machine:
    """What times and, by rounding, results depend on.

    Attributes:
        processor: its name; on Linux with family and model, since names of virtual machines hide
            them.
        cores: that this process may use.
        gpu: that a training takes; '' where it takes the processor.
        python: its version.
        versions: of the packages in `PACKAGES` that are installed.
    """

    processor: str
    cores: int
    gpu: str
    python: str
    versions: dict[str, str]

    @property
    def text(self) -> str:
        """In one line: on what, with what."""
        where = f"{self.processor}, {counted(self.cores, 'core')}"
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{f'{self.gpu}, beside {where}' if self.gpu else where}; {versions}"


def describe_machine(*, gpu: str = "") -> Machine:
    """This machine; needs no torch.

    Args:
        gpu: the name of the GPU that is used.
    """
    return Machine(
        processor=processor_name(),
        cores=cores(),
        gpu=gpu,
        python=platform.python_version(),
        versions={name: found for name in PACKAGES if (found := _version(name))},
    )


def processor_name() -> str:
    """The processor's name, with family and model where the system says them."""
    name = cpuinfo("model name")
    if not name:
        return platform.processor() or platform.machine()
    return f"{name}, family {cpuinfo('cpu family')} model {cpuinfo('model')}"


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpuinfo(key: str) -> str:
    """What Linux says of the first core under a name; '' elsewhere, and where it says nothing."""
    try:
        lines = _PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""

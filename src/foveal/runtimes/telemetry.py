"""OpenVINO and NNCF without their telemetry: every import of either goes through here.

Both send usage statistics through the package `openvino_telemetry`, already while they are
imported, and take silence for consent. Both do without where that package is missing. So it is made
to be missing: nothing is sent, no thread is started and nothing is written into the user's home.
"""

from __future__ import annotations

import importlib
import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from foveal.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

_TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """The module `openvino`, which sends nothing.

    Raises:
        MissingExtraError: it is not installed.
    """
    turn_telemetry_off()
    return _import("openvino", "pip install openvino")


def import_nncf() -> Any:
    """The module `nncf`, which sends nothing.

    Raises:
        MissingExtraError: it is not installed.
    """
    turn_telemetry_off()
    with _loggers_as_they_were():
        return _import("nncf", "pip install nncf")


def turn_telemetry_off() -> None:
    """See to it that neither OpenVINO nor NNCF sends anything from this process.

    An import of a module that is None in `sys.modules` fails as if it were not installed. Where
    somebody has imported the package before, its sender is made to drop everything.
    """
    if sys.modules.get(_TELEMETRY) is None:
        sys.modules[_TELEMETRY] = None  # pyrefly: ignore[unsupported-operation]
        return
    sender = importlib.import_module(f"{_TELEMETRY}.utils.sender")
    sender.TelemetrySender.send = _drop


@contextmanager
def _loggers_as_they_were() -> Iterator[None]:
    """Undo what NNCF does to all loggers, and keep PyTorch's word on missing GPUs to itself."""
    kind = logging.getLoggerClass()
    extensions = logging.getLogger("torch.utils.cpp_extension")
    level = extensions.level
    extensions.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.setLoggerClass(kind)
        extensions.setLevel(level)


def _drop(*_: Any, **__: Any) -> None:
    """Send nothing."""


def _import(name: str, install: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError(f"{name} is not installed. Run: {install}") from None

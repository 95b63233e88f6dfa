"""OpenVINO's `Core`: one for the whole process.

The CPU plugin of every `Core` gives the thread that loads it a stack for signal handlers of its
own. When a `Core` goes, its plugin takes that stack away and puts back the one that it found, which
may be the stack of a `Core` that went before. Then the next signal that has a handler ends the
process: SIGCHLD of a data loader's worker, for one. A `Core` that stays takes nothing away.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from foveal.runtimes.telemetry import import_openvino

if TYPE_CHECKING:
    from collections.abc import Iterator


@cache
def shared_core() -> Any:
    """The `openvino.Core` of this process, which stays until it ends.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    return import_openvino().Core()


@contextmanager
def only_shared_core() -> Iterator[None]:
    """While it is entered, everybody who asks OpenVINO for a `Core` gets the shared one."""
    openvino = import_openvino()
    core = shared_core()
    own = openvino.Core, openvino.compile_model
    openvino.Core, openvino.compile_model = (lambda: core), core.compile_model
    try:
        yield
    finally:
        openvino.Core, openvino.compile_model = own

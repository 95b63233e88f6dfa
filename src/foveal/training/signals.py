"""SIGINT and SIGTERM stop a run after the step under way, so that its state can be saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(Exception):
    """Raised by a signal in the middle of work that can be done again."""


class SignalHandler:
    """While it is entered, the first signal asks to stop; the second one ends the program.

    Outside the main thread, where Python handles no signals, it does nothing.

    Attributes:
        stop_requested: whether a signal has come.
    """

    def __init__(self) -> None:
        self.stop_requested = False
        self._at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalHandler:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    @contextlib.contextmanager
    def stopping_at_once(self) -> Iterator[None]:
        """Inside, a signal raises StoppedError at once."""
        self._at_once = True
        try:
            if self.stop_requested:
                raise StoppedError
            yield
        finally:
            self._at_once = False

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.stop_requested:
            self._restore()
            raise KeyboardInterrupt
        self.stop_requested = True
        if self._at_once:
            raise StoppedError

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

"""What a server takes at most: bytes, pixels, images that wait, seconds."""

from __future__ import annotations

from dataclasses import dataclass

from foveal.errors import SettingsError

_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes at most; all of it is told by `GET /v1/models`.

    Attributes:
        batch: images in one pass through the network.
        wait: seconds that an image waits for others of its input size.
        queue: images that are being worked on or wait; more are refused with 503.
        body: bytes of a request.
        pixels: of an image, known from its header.
        timeout: seconds that a request may take, from its head to its answer.

    Raises:
        SettingsError: one of them can't be.
    """

    batch: int = 8
    wait: float = 0.005
    queue: int = 64
    body: int = 64 * _MEBIBYTE
    pixels: int = 100_000_000
    timeout: float = 60.0

    def __post_init__(self) -> None:
        for option, value, smallest in (
            ("--batch", self.batch, 1),
            ("--wait-ms", self.wait, 0),
            ("--queue", self.queue, 1),
            ("--max-body", self.body, 1),
            ("--max-pixels", self.pixels, 1),
            ("--timeout", self.timeout, 0.001),
        ):
            if not smallest <= value < float("inf"):
                raise SettingsError(f"{option} {value:g}: expected a number from {smallest:g}.")

    @property
    def bodies(self) -> int:
        """Requests whose bodies may be on their way at once."""
        return 4 * self.queue

    @property
    def bytes_at_once(self) -> int:
        """Bytes of all bodies that may be held at once: those in JSON lie in memory."""
        return 8 * self.body

"""What a server lets be watched: whoever counts and measures gets it by these calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from foveal.serving.models import ServedModel
    from foveal.structures import Detections


class Observer(Protocol):
    """Is told what a server does. Calls come from several threads, and must return at once."""

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            route: as it is declared, such as "/v1/detect"; "" where there is none.
            status: of HTTP.
            seconds: from its head to its answer.
        """

    def took(self, stage: str, seconds: float) -> None:
        """A stage is done: 'receive', 'decode', 'wait', 'model', 'scene' or 'answer'."""

    def computed(self, model: ServedModel, images: int) -> None:
        """So many images went through the network together."""

    def queued(self, images: int) -> None:
        """So many images are being worked on or wait, of all models."""

    def detected(
        self, model: ServedModel, detections: Detections, *, score_threshold: float
    ) -> None:
        """An image's detections are known, of all classes.

        Args:
            model: that found them.
            detections: in original pixels.
            score_threshold: the least score that was asked for.
        """


class NoObserver:
    """Watches nothing."""

    def answered(self, route: str, status: int, seconds: float) -> None:
        """See `Observer`."""

    def took(self, stage: str, seconds: float) -> None:
        """See `Observer`."""

    def computed(self, model: ServedModel, images: int) -> None:
        """See `Observer`."""

    def queued(self, images: int) -> None:
        """See `Observer`."""

    def detected(
        self, model: ServedModel, detections: Detections, *, score_threshold: float
    ) -> None:
        """See `Observer`."""

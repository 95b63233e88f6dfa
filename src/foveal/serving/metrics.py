"""What a server does, in numbers that Prometheus collects.

Names begin with `foveal_`; docs/how-to/serving.md lists them. Times are seconds, sizes original
pixels.
"""

from __future__ import annotations

import math
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from foveal.errors import MissingExtraError
from foveal.serving.detection_counts import NUMBER_EDGES, DetectionCounts
from foveal.serving.drift import Drift
from foveal.structures import SCORE_EDGES, SIZE_EDGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from prometheus_client.core import Metric

    from foveal.serving.models import ServedModel
    from foveal.structures import DetectionProfile, Detections

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_PAGE = "/page/"
"""The parts of the page are one route."""
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts what a server does, and says it in Prometheus's format: a `serving.Observer`.

    Each has a registry of its own, so that servers in one process don't count one another's.

    Args:
        profiles: how models' detections looked in validation, by the model's name, in place of what
            their cards say.

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self, profiles: Mapping[str, DetectionProfile] | None = None) -> None:
        if find_spec("prometheus_client") is None:
            raise MissingExtraError(
                "Measuring a server needs prometheus-client: pip install 'foveal[serve]'"
            )
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            PlatformCollector,
            ProcessCollector,
        )

        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "foveal_requests",
            "Requests that were answered.",
            ("route", "status"),
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "foveal_request_seconds",
            "From a request's head to its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "foveal_stage_seconds",
            "What each stage of an image's way takes.",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batches = Histogram(
            "foveal_batch_images",
            "Images that went through the network together.",
            ("model",),
            buckets=_IMAGES,
            registry=self.registry,
        )
        self._queue = Gauge(
            "foveal_queue_images",
            "Images that are being worked on or wait.",
            registry=self.registry,
        )
        self._profiles = dict(profiles or {})
        self._models: dict[str, _Watched] = {}
        self._lock = threading.Lock()
        self.registry.register(self)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            route: as it is declared; "" where there is none.
            status: of HTTP; 0 where the client went away before.
            seconds: from its head to its answer.
        """
        route = _PAGE if route.startswith(_PAGE) else route or "none"
        self._requests.labels(route, str(status or "none")).inc()
        self._request_seconds.labels(route).observe(seconds)

    def took(self, stage: str, seconds: float) -> None:
        """A stage of an image's way is done."""
        self._stage_seconds.labels(stage).observe(seconds)

    def computed(self, model: ServedModel, images: int) -> None:
        """So many images went through the network together."""
        self._batches.labels(model.name).observe(images)

    def queued(self, images: int) -> None:
        """So many images are being worked on or wait, of all models."""
        self._queue.set(images)

    def detected(
        self, model: ServedModel, detections: Detections, *, score_threshold: float
    ) -> None:
        """An image's detections are known.

        Those from the model's own score threshold on are counted, whatever was asked for.
        """
        watched = self._watch(model)
        watched.counts.add(detections.above(watched.score_threshold))
        if watched.drift is not None:
            watched.drift.observe(detections, score_threshold=score_threshold)

    def _watch(self, model: ServedModel) -> _Watched:
        """A model's numbers; those of another version begin anew."""
        with self._lock:
            known = self._models.get(model.name)
            if known is None or known.version != model.version:
                known = self._models[model.name] = _Watched(model, self._profiles.get(model.name))
            return known

    def collect(self) -> Iterator[Metric]:
        """What was detected, by model, as Prometheus's registry asks for it."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"foveal_{name}", text, labels=["model", *labels])

        def histogram(name: str, text: str) -> HistogramMetricFamily:
            return HistogramMetricFamily(f"foveal_{name}", text, labels=["model"])

        info = gauge("model_info", "1 for each model that has detected something.", "version")
        images = CounterMetricFamily("foveal_images", "Images.", labels=["model"])
        objects = CounterMetricFamily(
            "foveal_detections", "Detections of each class.", labels=["model", "class"]
        )
        numbers = histogram("image_detections", "Detections in an image.")
        scores = histogram("detection_score", "Scores of detections.")
        sizes = histogram("detection_size_pixels", "Square roots of boxes' areas.")
        true_scores = histogram("validation_detection_score", "Scores on the validation images.")
        true_sizes = histogram(
            "validation_detection_size_pixels", "Square roots of areas on the validation images."
        )
        expected = gauge(
            "validation_detections_per_image", "Detections in an image of the validation images."
        )
        known = gauge("drift_known", "1 where the card says how detections looked in validation.")
        recent = gauge(
            "drift_detections_per_image",
            "Detections in an image, of the latest ones.",
        )
        window = gauge("drift_images", "Latest images that are compared.")
        drift = gauge(
            "drift",
            "Distance of the latest images' scores and sizes from validation: 0 alike, 1 disjoint.",
            "of",
        )
        chance = gauge("drift_by_chance", "What foveal_drift would be by chance alone.", "of")
        left_out = CounterMetricFamily(
            "foveal_drift_left_out_images",
            "Images that were not compared, as only higher scores were asked for.",
            labels=["model"],
        )
        with self._lock:
            models = list(self._models.items())
        for name, watched in models:
            said = watched.counts.read()
            info.add_metric([name, watched.version], 1)
            images.add_metric([name], said.images)
            for kind, number in zip(watched.classes, said.classes.tolist(), strict=True):
                objects.add_metric([name, kind], number)
            numbers.add_metric([name], _buckets(said.numbers, NUMBER_EDGES), said.detections)
            scores.add_metric([name], _buckets(said.scores, SCORE_EDGES[1:-1]), said.score_sum)
            sizes.add_metric([name], _buckets(said.sizes, SIZE_EDGES[1:-1]), said.size_sum)
            known.add_metric([name], float(watched.drift is not None))
            if watched.drift is None:
                continue
            profile = watched.drift.profile
            true_scores.add_metric([name], _buckets(profile.scores, SCORE_EDGES[1:-1]), None)
            true_sizes.add_metric([name], _buckets(profile.sizes, SIZE_EDGES[1:-1]), None)
            if profile.images:
                expected.add_metric([name], profile.detections / profile.images)
            reading = watched.drift.read()
            if reading.images:
                recent.add_metric([name], reading.detections_per_image)
            window.add_metric([name], reading.images)
            left_out.add_metric([name], reading.left_out)
            for kind, value in reading.distances.items():
                if math.isnan(value):
                    continue  # one NaN makes the mean over all models one
                drift.add_metric([name, kind], value)
                chance.add_metric([name, kind], reading.by_chance[kind])
        yield from (info, images, objects, numbers, scores, sizes)
        yield from (known, drift, chance, window, left_out, recent, expected)
        yield from (true_scores, true_sizes)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All of it as a document.

        Args:
            accept: which formats the client takes, as HTTP's header says it.

        Returns:
            The document and its content type.
        """
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class _Watched:
    """One version of a model: what it detects, and how far that is from validation."""

    def __init__(self, model: ServedModel, profile: DetectionProfile | None) -> None:
        card = model.predictor.card
        self.version, self.classes = model.version, card.classes
        self.score_threshold = card.score_threshold
        self.counts = DetectionCounts(len(card.classes))
        profile = profile or card.profile
        self.drift = None if profile is None else Drift(profile)


def _buckets(
    numbers: Sequence[int] | NDArray[np.int64], edges: Sequence[float]
) -> list[tuple[str, float]]:
    """Numbers [bins] as Prometheus has histograms: how many are up to each edge, the last beyond.

    Its edges are part of the bin below; scores and sizes that are an edge are in the bin above.
    """
    names = [f"{edge:.6g}" for edge in edges]
    return list(zip([*names, "+Inf"], np.cumsum(numbers).tolist(), strict=True))

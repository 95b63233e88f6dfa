"""An export beside the network that it was made from: outputs, boxes, detections, speed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.detection.box_coding_arrays import decode_boxes
from foveal.detection.decoding import decode
from foveal.detection.quality_arrays import rated_arrays
from foveal.exporting.near_ties import Candidates, Rounding, candidates_of, is_near_tie
from foveal.geometry.arrays import clip, iou
from foveal.structures import PaddedDetections, RawOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from foveal.config import DecodingSettings
    from foveal.detection.anchors import AnchorGrid
    from foveal.runtimes.base import Runtime

CLEAR_SCORE = 0.3
"""Detections from this score on are to be found again."""
SAME_IOU = 0.9
"""From this overlap with one of its class on, a detection is found again."""
SAME_PIXELS = 0.05
"""Where no side differs by more, it is too."""

_LEAST_ROUNDING = Rounding(scores=1e-6, boxes=0.05)
_MOST_ROUNDING = Rounding(scores=0.005, boxes=0.1)
"""What passes for rounding: twice the differences that are seen, within these."""
_BEST_ANCHORS = 1000
"""Of each image so many anchors, those with the highest scores, have their boxes compared."""
_BEST_DETECTIONS = 20
"""Of each image so many detections stand in where none has a clear score."""
_TIMED_RUNS = 5
_TIMED_SECONDS = 2.0
"""A runtime is timed until either is reached."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an export may be from the network.

    Attributes:
        logits: largest difference of a logit (of a score where NMS is inside), relative to the
            largest logit.
        boxes: largest difference of a box, input pixels.
        fraction: the fraction of detections that must be found again, or lost to near ties alone.
    """

    logits: float
    boxes: float
    fraction: float


LIMITS = {
    "float32": Limits(logits=1e-3, boxes=0.05, fraction=0.995),
    "float16": Limits(logits=0.02, boxes=1.0, fraction=0.98),
}
"""For 8 bits the rule is the average precision."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an export and the network agree on images of one input size.

    Attributes:
        precision: what the export computed in.
        height, width, batch: of the input.
        logits: largest difference, relative to the largest logit; where NMS is inside, of the
            scores of detections that were found again from those of the network's own boxes.
        boxes: largest difference, input pixels: of the best anchors' boxes, or of the detections
            that were found again.
        matched, detections: how many of the network's detections the export finds again.
        near_ties: how many of the others rounding decides about, see `near_ties`.
        is_clear: whether these have a clear score; else they are the best there are.
    """

    precision: str
    height: int
    width: int
    batch: int
    logits: float
    boxes: float
    matched: int
    detections: int
    is_clear: bool
    near_ties: int = 0

    @property
    def fraction(self) -> float:
        """The fraction of detections found again, or lost to near ties; 1 where there are none."""
        return (self.matched + self.near_ties) / self.detections if self.detections else 1.0

    def problems(self, limits: Limits) -> list[str]:
        """What is beyond the limits, in words."""
        where = f"{self.batch} x {self.width} x {self.height}, {self.precision}"
        beyond = []
        # Written so that NaN is beyond any limit.
        if not self.logits <= limits.logits:
            beyond.append(f"{where}: logits differ by {self.logits:.2g}, limit {limits.logits:g}")
        if not self.boxes <= limits.boxes:
            beyond.append(f"{where}: boxes differ by {self.boxes:.2g} px, limit {limits.boxes:g}")
        if self.is_clear and not self.fraction >= limits.fraction:
            ties = f", {self.near_ties} more lost near ties" if self.near_ties else ""
            beyond.append(
                f"{where}: {self.matched} of {self.detections} detections are found again{ties}, "
                f"limit {limits.fraction:.1%}"
            )
        return beyond


def compare(
    reference: Runtime,
    export: Runtime,
    images: NDArray[np.uint8],
    *,
    grid: AnchorGrid,
    decoding: DecodingSettings,
) -> Agreement:
    """Run both on a batch and see how far they are from each other.

    Args:
        reference: the network in PyTorch, on a CPU.
        export: gives raw output or detections.
        images: [B, C, H, W] uint8.
        grid: the network's anchors.
        decoding: with which raw output is decoded.
    """
    height, width = images.shape[2:]
    anchors = grid.boxes(height, width)
    extents = np.tile(np.array([0, 0, width, height], np.float32), (len(images), 1))

    def decoded(raw: RawOutput[Any], score_threshold: float) -> PaddedDetections[NDArray[Any]]:
        settings = decoding.model_copy(update={"score_threshold": score_threshold})
        return decode(raw, anchors, extents=extents, **settings.model_dump())

    wanted, got = _on_host(reference(images)), _on_host(export(images))
    assert isinstance(wanted, RawOutput)
    clear = decoded(wanted, max(CLEAR_SCORE, decoding.score_threshold))
    is_clear = bool(clear.counts.sum())
    near_ties = 0
    if isinstance(got, PaddedDetections):
        best = clear if is_clear else decoded(wanted, decoding.score_threshold)
        pairs = match(best, got, max_detections=None if is_clear else _BEST_DETECTIONS)
        rows = [
            candidates_of(wanted, row, anchors=anchors, extent=extents[row])
            for row in range(len(images))
        ]
        # From the network's own boxes: what won a near tie is not what it is paired with.
        gaps = [
            rows[row].nearest(
                got.boxes[row, other], float(got.scores[row, other]), int(got.labels[row, other])
            )
            for row, other in pairs.again
        ]
        boxes = max((gap for gap, _ in gaps), default=0.0)
        logits = score_gap = max((gap for _, gap in gaps), default=0.0)
        near_ties = _count_near_ties(pairs, best, got, rows, decoding, score_gap, boxes)
    else:
        # Without clear detections, whatever has any score.
        score_threshold = decoding.score_threshold if is_clear else 0.0
        best = clear if is_clear else decoded(wanted, score_threshold)
        if [part.shape for level in wanted for part in level] == [
            part.shape for level in got for part in level
        ]:
            logits, boxes = _raw_differences(wanted, got, anchors, extents)
            others = decoded(got, score_threshold)
            pairs = match(best, others, max_detections=None if is_clear else _BEST_DETECTIONS)
            if pairs.lost:
                rows = [
                    candidates_of(wanted, row, anchors=anchors, extent=extents[row])
                    for row in range(len(images))
                ]
                score_gap = _largest_score_gap(wanted, got)
                near_ties = _count_near_ties(pairs, best, others, rows, decoding, score_gap, boxes)
        else:
            logits = boxes = float("inf")
            pairs = Pairs(int(best.counts.sum()), 0, 0.0, 0.0)
    return Agreement(
        precision=export.precision,
        height=height,
        width=width,
        batch=len(images),
        logits=logits,
        boxes=boxes,
        matched=pairs.matched,
        detections=pairs.detections,
        is_clear=is_clear,
        near_ties=near_ties,
    )


@dataclass(frozen=True, slots=True)
class Pairs:
    """What became of some detections elsewhere.

    Attributes:
        detections, matched: how many there are, and how many of them are found again.
        scores, boxes: largest difference among those found again, 0 where there are none.
        lost: those that are not found again, each as the row of its image and its place there.
        again: those that they are found again as, in the same way.
    """

    detections: int
    matched: int
    scores: float
    boxes: float
    lost: tuple[tuple[int, int], ...] = ()
    again: tuple[tuple[int, int], ...] = ()


def match(
    wanted: PaddedDetections[NDArray[Any]],
    got: PaddedDetections[NDArray[Any]],
    *,
    max_detections: int | None = None,
) -> Pairs:
    """Look for each detection's likeness: the same class, and boxes that overlap or are the same.

    Args:
        wanted: the detections, boxes [B, M, 4].
        got: of the same images.
        max_detections: look only for the best so many of each image.
    """
    detections = matched = 0
    scores = boxes = 0.0
    lost: list[tuple[int, int]] = []
    found: list[tuple[int, int]] = []
    for row in range(len(wanted.counts)):
        count = (
            int(wanted.counts[row])
            if max_detections is None
            else min(int(wanted.counts[row]), max_detections)
        )
        others = slice(int(got.counts[row]))
        detections += count
        if not count or not int(got.counts[row]):
            lost += [(row, place) for place in range(count)]
            continue
        mine_of, theirs_of = wanted.boxes[row, :count, None], got.boxes[row, None, others]
        overlap = iou(mine_of, theirs_of)
        # A box that the image's edge left without area overlaps with nothing, itself included.
        overlap[np.abs(mine_of - theirs_of).max(axis=2) <= SAME_PIXELS] = 1
        overlap = overlap * (wanted.labels[row, :count, None] == got.labels[row, None, others])
        best = overlap.argmax(axis=1)
        again = overlap.max(axis=1) >= SAME_IOU
        matched += int(again.sum())
        lost += [(row, int(place)) for place in np.flatnonzero(~again)]
        found += [(row, int(place)) for place in best[again]]
        if again.any():
            mine, theirs = np.flatnonzero(again), best[again]
            score_gaps = np.abs(wanted.scores[row, mine] - got.scores[row, theirs])
            box_gaps = np.abs(wanted.boxes[row, mine] - got.boxes[row, theirs])
            scores, boxes = max(scores, float(score_gaps.max())), max(boxes, float(box_gaps.max()))
    return Pairs(detections, matched, scores, boxes, tuple(lost), tuple(found))


def _count_near_ties(
    pairs: Pairs,
    wanted: PaddedDetections[NDArray[Any]],
    got: PaddedDetections[NDArray[Any]],
    rows: list[Candidates],
    decoding: DecodingSettings,
    score_gap: float,
    box_gap: float,
) -> int:
    """How many of the lost detections rounding decides about: two scores move by a gap each."""
    least, most = _LEAST_ROUNDING, _MOST_ROUNDING
    rounding = Rounding(
        scores=min(max(least.scores, 2 * score_gap), most.scores),
        boxes=min(max(least.boxes, 2 * box_gap), most.boxes),
    )
    return sum(
        is_near_tie(
            place,
            wanted,
            got,
            row,
            candidates=rows[row],
            decoding=decoding,
            rounding=rounding,
        )
        for row, place in pairs.lost
    )


def _largest_score_gap(
    wanted: RawOutput[NDArray[np.float32]], got: RawOutput[NDArray[np.float32]]
) -> float:
    """The largest difference of a score."""
    with np.errstate(over="ignore", invalid="ignore"):
        return max(
            float(np.abs(1 / (1 + np.exp(-one)) - 1 / (1 + np.exp(-other))).max())
            for one, other in zip(wanted.logits, got.logits, strict=True)
        )


def seconds_an_image(
    runtimes: dict[str, Runtime],
    images: NDArray[np.uint8],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """What an image takes in each runtime, network and all that is inside: the median of some runs.

    They run in turn, so that whatever else the machine does meets all of them.

    Args:
        runtimes: by name.
        images: [B, C, H, W] uint8.
        clock: tells the time in seconds.
    """
    for runtime in runtimes.values():
        runtime(images)  # compiles, and fills the caches
    taken: dict[str, list[float]] = {name: [] for name in runtimes}
    began = clock()
    for _ in range(_TIMED_RUNS):
        for name, runtime in runtimes.items():
            start = clock()
            runtime(images)
            taken[name].append(clock() - start)
        if clock() - began > _TIMED_SECONDS * len(runtimes):
            break
    return {name: float(np.median(times)) / len(images) for name, times in taken.items()}


def _raw_differences(
    wanted: RawOutput[NDArray[np.float32]],
    got: RawOutput[NDArray[np.float32]],
    anchors: NDArray[np.float32],
    extents: NDArray[np.float32],
) -> tuple[float, float]:
    """Largest difference of logits, relative, and of the best anchors' boxes, input pixels."""
    logits, others = (np.concatenate(raw.logits, axis=1) for raw in (wanted, got))
    relative = float(np.abs(logits - others).max() / max(float(np.abs(logits).max()), 1e-12))
    count = min(_BEST_ANCHORS, logits.shape[1])
    best = np.argpartition(-logits.max(axis=2), count - 1, axis=1)[:, :count]
    deltas, other_deltas = (np.concatenate(raw.deltas, axis=1) for raw in (wanted, got))
    gap = 0.0
    for row, index in enumerate(best):
        boxes, other_boxes = (
            clip(decode_boxes(part[row, index], anchors[index]), extents[row])
            for part in (deltas, other_deltas)
        )
        gap = max(gap, float(np.abs(boxes - other_boxes).max()))
    return relative, gap


def _on_host(
    output: RawOutput[Any] | PaddedDetections[Any],
) -> RawOutput[NDArray[Any]] | PaddedDetections[NDArray[Any]]:
    """The same in numpy, wherever it is, as exports have it.

    Quality is in the logits, and distributions of distances, which are for training, are left out.
    """

    def array(part: Any) -> NDArray[Any]:
        host: NDArray[Any] = part if isinstance(part, np.ndarray) else part.float().cpu().numpy()
        return host

    if isinstance(output, PaddedDetections):
        return PaddedDetections(*(array(part) for part in output[:4]))
    return rated_arrays(output.map(array))._replace(distributions=())

"""What is said of an export beside its network, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foveal.config import DecodingSettings
from foveal.detection.anchors import AnchorGrid
from foveal.exporting.checking import LIMITS, Agreement, compare, match, seconds_an_image
from foveal.runtimes.base import InputSizes
from foveal.structures import PaddedDetections, RawOutput

GRID = AnchorGrid(sizes=(16.0,), strides=(32,), scales=(1.0,), ratios=(1.0,))
"""One anchor of 16 x 16 pixels in each cell of 32 x 32."""
DECODING = DecodingSettings()
IMAGES = np.zeros((1, 3, 64, 96), np.uint8)  # six cells


class Fake:
    """A runtime that says what it was told to."""

    name, device, precision, sizes = "fake", "cpu", "float32", InputSizes()

    def __init__(self, output: Any) -> None:
        self.output = output

    def __call__(self, images: Any) -> Any:
        return self.output


def raw(*logits: float, shift: float = 0.0) -> RawOutput[Any]:
    """Logits of the six cells; every box moved by so many anchor sizes to the right."""
    deltas = np.zeros((1, 6, 4), np.float32)
    deltas[..., 0] = shift
    return RawOutput((np.array(logits, np.float32).reshape(1, 6, 1),), (deltas,))


def agreement(wanted: Any, got: Any) -> Agreement:
    return compare(Fake(wanted), Fake(got), IMAGES, grid=GRID, decoding=DECODING)


CLEAR = raw(2, 4, -5, -5, -5, -5)


def test_the_same() -> None:
    same = agreement(CLEAR, CLEAR)
    assert (same.height, same.width, same.batch) == (64, 96, 1)
    assert (same.logits, same.boxes, same.matched, same.detections) == (0, 0, 2, 2)
    assert same.is_clear
    assert same.problems(LIMITS["float32"]) == []


def test_distributions_are_for_training_and_no_export_has_them() -> None:
    bins = np.zeros((1, 6, 4, 17), np.float32)
    same = agreement(CLEAR._replace(distributions=(bins,)), CLEAR)
    assert (same.logits, same.boxes, same.matched, same.detections) == (0, 0, 2, 2)


def test_other_logits() -> None:
    other = agreement(CLEAR, raw(2, 4.05, -5, -5, -5, -5))
    assert other.logits == pytest.approx(0.05 / 5, rel=1e-4)  # -5 is the largest in size
    (problem,) = other.problems(LIMITS["float32"])
    assert problem == "1 x 96 x 64, float32: logits differ by 0.01, limit 0.001"


def test_other_boxes() -> None:
    moved = agreement(CLEAR, raw(2, 4, -5, -5, -5, -5, shift=0.01))
    assert moved.boxes == pytest.approx(0.16, rel=1e-3)
    assert moved.matched == 2
    assert ["boxes differ by 0.16 px" in each for each in moved.problems(LIMITS["float32"])] == [
        True
    ]


def test_moved_too_far_is_not_found_again() -> None:
    moved = agreement(CLEAR, raw(2, 4, -5, -5, -5, -5, shift=0.5))
    assert (moved.matched, moved.detections, moved.fraction) == (0, 2, 0)
    assert any("0 of 2 detections" in each for each in moved.problems(LIMITS["float32"]))


def test_what_is_not_a_number_is_a_problem() -> None:
    assert agreement(CLEAR, raw(2, np.nan, -5, -5, -5, -5)).problems(LIMITS["float32"])


def test_outputs_of_another_shape_are_a_problem() -> None:
    fewer = RawOutput(tuple(part[:, :3] for part in CLEAR.logits), CLEAR.deltas)
    other = agreement(CLEAR, fewer)
    assert (other.matched, other.detections) == (0, 2)
    assert len(other.problems(LIMITS["float32"])) == 3


def test_without_clear_detections_the_best_are_looked_for() -> None:
    vague = raw(-2, -3, -4, -5, -6, -7)
    same = agreement(vague, vague)
    assert not same.is_clear
    assert (same.matched, same.detections) == (6, 6)
    worse = agreement(vague, raw(-2, -3, -4, -5, -6, -7, shift=0.5))
    assert worse.matched == 0
    assert not any("found again" in each for each in worse.problems(LIMITS["float32"]))


def detections(
    boxes: Any, labels: Any, scores: Any, max_detections: int = 4
) -> PaddedDetections[Any]:
    count = len(labels)
    padded: PaddedDetections[Any] = PaddedDetections(
        np.zeros((1, max_detections, 4), np.float32),
        np.zeros((1, max_detections), np.float32),
        np.zeros((1, max_detections), np.int64),
        np.array([count]),
    )
    padded.boxes[0, :count] = np.array(boxes, np.float32).reshape(-1, 4)
    padded.scores[0, :count], padded.labels[0, :count] = scores, labels
    return padded


def test_match_by_hand() -> None:
    wanted = detections([[0, 0, 10, 10], [20, 20, 40, 40]], [0, 1], [0.9, 0.8])
    other_class = detections([[0, 0, 10, 10], [20, 20, 40, 40]], [0, 2], [0.9, 0.8])
    assert match(wanted, other_class).matched == 1
    nearly = detections([[20, 20, 40, 41], [0, 0, 10, 10]], [1, 0], [0.7, 0.9])
    pairs = match(wanted, nearly)
    assert (pairs.matched, pairs.detections) == (2, 2)
    assert (pairs.scores, pairs.boxes) == pytest.approx((0.1, 1.0))
    assert match(wanted, nearly, max_detections=1).detections == 1


def test_a_box_without_area_is_found_again() -> None:
    """The edge of the image leaves such boxes of random weights."""
    wanted = detections([[27, 0, 260, 0]], [0], [0.9])
    assert match(wanted, detections([[27.01, 0, 260, 0]], [0], [0.9])).matched == 1
    assert match(wanted, detections([[27.1, 0, 260, 0]], [0], [0.9])).matched == 0
    assert match(wanted, detections([[27.01, 0, 260, 0]], [1], [0.9])).matched == 0


def test_match_of_nothing() -> None:
    nothing, one = detections([], [], []), detections([[0, 0, 9, 9]], [0], [0.5])
    assert (match(nothing, one).detections, match(nothing, one).matched) == (0, 0)
    assert (match(one, nothing).detections, match(one, nothing).matched) == (1, 0)


def test_detections_in_place_of_raw_output() -> None:
    # Cells 0 and 1 have anchors around (16, 16) and (48, 16).
    found = detections([[40, 8, 56, 24], [8, 8, 24, 24]], [0, 0], [0.982, 0.8808])
    same = agreement(CLEAR, found)
    assert (same.matched, same.detections) == (2, 2)
    assert same.logits < 1e-4
    assert same.boxes == 0


def overlapping(*logits: float) -> RawOutput[Any]:
    """The same, but cells 0 and 1 say nearly one box: around (32, 16) and (36, 16)."""
    output = raw(*logits)
    output.deltas[0][0, :2, 0] = 1, -0.75
    return output


def test_two_scores_that_are_the_same_to_rounding_may_swap() -> None:
    """NMS keeps the one here and the other there: the boxes overlap by 0.6."""
    swapped = agreement(
        overlapping(2.000001, 2, -5, -5, -5, -5), overlapping(2, 2.000001, -5, -5, -5, -5)
    )
    assert (swapped.matched, swapped.near_ties, swapped.detections) == (0, 1, 1)
    assert swapped.problems(LIMITS["float32"]) == []
    clear = agreement(overlapping(2.1, 2, -5, -5, -5, -5), overlapping(2, 2.1, -5, -5, -5, -5))
    assert (clear.matched, clear.near_ties) == (0, 0)
    assert any("0 of 1 detections" in each for each in clear.problems(LIMITS["float32"]))


@pytest.mark.parametrize(
    ("box", "score", "ties"),
    [
        ([28, 8, 44, 24], 0.880797, 1),  # cell 1's
        ([28, 8, 44, 24], 0.8708, 0),  # worse: it has no right to the place
        ([25, 8, 41, 24], 0.880797, 0),  # no box of the network
        ([72, 8, 88, 24], 0.880797, 0),  # elsewhere
    ],
)
def test_a_box_that_took_a_place_inside_an_export(box: Any, score: float, ties: int) -> None:
    wanted = overlapping(2.000001, 2, -5, -5, -5, -5)
    inside = agreement(wanted, detections([box], [0], [score]))
    assert inside.detections == 1
    assert inside.near_ties == ties
    assert (inside.problems(LIMITS["float32"]) == []) == bool(ties)


def test_what_a_limit_cut_off_is_a_near_tie_at_its_edge() -> None:
    wanted = raw(2, 2.000001, 4, -5, -5, -5)
    kept = detections([[72, 8, 88, 24], [8, 8, 24, 24]], [0, 0], [0.98201, 0.8808], 2)
    full = agreement(wanted, kept)
    assert (full.matched, full.near_ties, full.detections) == (2, 1, 3)
    assert full.problems(LIMITS["float32"]) == []
    with_room = detections([[72, 8, 88, 24], [8, 8, 24, 24]], [0, 0], [0.98201, 0.8808], 3)
    lost = agreement(wanted, with_room)
    assert (lost.matched, lost.near_ties) == (2, 0)
    assert "2 of 3 detections are found again, limit" in lost.problems(LIMITS["float32"])[0]


def test_seconds_are_medians_of_runs_in_turn() -> None:
    ticks = iter([0.0, *[0, 1, 1, 3, 3] * 5])
    seconds = seconds_an_image(
        {"one": Fake(None), "other": Fake(None)},
        np.zeros((2, 3, 32, 32)),
        clock=lambda: next(ticks),
    )
    assert seconds == {"one": 0.5, "other": 1.0}

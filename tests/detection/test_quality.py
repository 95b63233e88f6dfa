"""Class and quality in one score: by hand, by law, in tensors and arrays alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from foveal.detection import quality, quality_arrays
from foveal.detection.anchors import AnchorGrid
from foveal.detection.decoding import decode
from foveal.structures import PaddedDetections, RawOutput

GRID = AnchorGrid(sizes=(16.0, 32.0), strides=(8, 16), scales=(1.0,), ratios=(1.0,))
SIDE = 64


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def test_by_hand() -> None:
    """sqrt(0.9 * 0.4) = 0.6 and sqrt(0.1 * 0.4) = 0.2."""
    rated = quality.rate(torch.tensor([[logit(0.9), logit(0.1)]]), torch.tensor([logit(0.4)]))
    torch.testing.assert_close(rated, torch.tensor([[logit(0.6), logit(0.2)]]))


def test_equals_the_formula_in_double_precision_and_overflows_nowhere() -> None:
    ends = torch.tensor([-1e4, -100, -30, -8, -1, 0, 2, 9, 14, 30, 1e4])
    logits, of_box = ends[:, None], ends[None, :].expand(len(ends), -1)
    rated = quality.rate(logits[..., None].expand(-1, len(ends), 1), of_box)[..., 0]
    assert rated.isfinite().all()
    exact = (logits.double().sigmoid() * of_box.double().sigmoid()).sqrt()
    torch.testing.assert_close(rated.double().sigmoid(), exact, rtol=1e-5, atol=1e-30)
    assert (rated.diff(dim=0) >= 0).all()
    assert (rated.diff(dim=1) >= 0).all()
    arrays = quality_arrays.rate(logits.numpy(), of_box.numpy())
    np.testing.assert_allclose(arrays, rated.numpy(), rtol=1e-5, atol=1e-5)
    low = quality.rate(torch.zeros(1, 2, dtype=torch.bfloat16), torch.zeros(1).bfloat16())
    assert low.dtype == torch.float32


def test_the_gradient_is_finite() -> None:
    logits = torch.tensor([[-1e4, -20.0, 0.0, 20.0, 1e4]], requires_grad=True)
    quality.rate(logits, torch.tensor([3.0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("form", ["arrays", "tensors"])
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", ["logits", "quality"])
def test_what_is_no_number_is_no_detection(form: str, broken: float, part: str) -> None:
    raw = raw_output()
    levels = getattr(raw, part)
    levels[0][0, 5:] = broken
    levels[1][0] = broken
    found = decode_in(form, raw)
    fine = raw.map(lambda level: level[:1, :5])
    expected = decode_in(form, RawOutput(*(levels[:1] for levels in fine)), first=5)
    if part == "quality" and broken == math.inf:  # a quality of 1 is one
        assert found.counts[0] > expected.counts[0]
        return
    assert int(found.counts[0]) == int(expected.counts[0]) > 0
    scores, wanted = (np.asarray(each.scores[0]) for each in (found, expected))
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3, 0.9, 1.0])
def test_only_what_may_be_above_is_computed(threshold: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 4, (200, 3)).astype(np.float32)
    of_box = rng.normal(0, 3, 200).astype(np.float32)
    limit = {0.0: -math.inf, 1.0: math.inf}.get(threshold) or logit(threshold)
    found = quality_arrays.rate_above(logits, of_box, threshold_logit=limit)
    every = quality_arrays.rate(logits, of_box[:, None])
    np.testing.assert_array_equal(found[every > limit], every[every > limit])
    assert (found[every <= limit] <= limit).all()
    if 0 < threshold < 1:
        assert 0 < np.isfinite(found).sum() < every.size


def raw_output(spread: float = 2.0) -> RawOutput:
    rng = np.random.default_rng(0)
    counts = [rows * columns for rows, columns in GRID.level_sizes(SIDE, SIDE)]
    shapes: tuple[tuple[float, tuple[int, ...]], ...] = ((spread, (3,)), (0.3, (4,)), (spread, ()))
    return RawOutput(
        *(
            tuple(rng.normal(0, sd, (2, count, *shape)).astype(np.float32) for count in counts)
            for sd, shape in shapes
        )
    )


def decode_in(
    form: str, raw: RawOutput, *, first: int | None = None, **settings: Any
) -> PaddedDetections:
    """By tensors or arrays; of the anchors only the first ones where that is said."""
    if form == "arrays":
        return decode(raw, GRID.boxes(SIDE, SIDE)[:first], **settings)
    return decode(raw.map(torch.tensor), GRID.tensor(SIDE, SIDE)[:first], **settings)


@pytest.mark.parametrize("form", ["arrays", "tensors"])
@pytest.mark.parametrize("threshold", [0.05, 0.5])
def test_decoding_equals_scores_computed_one_by_one(form: str, threshold: float) -> None:
    raw = raw_output()
    plain = RawOutput(
        tuple(
            np.array(
                [
                    [[logit(math.sqrt(sigmoid(c) * sigmoid(q))) for c in row] for row, q in pairs]
                    for pairs in map(zip, logits, of_box)
                ],
                np.float32,
            )
            for logits, of_box in zip(raw.logits, raw.quality, strict=True)
        ),
        raw.deltas,
    )
    settings = {"score_threshold": threshold, "max_detections": 20}
    expected = decode_in("arrays", plain, **settings)
    found = decode_in(form, raw, **settings)
    assert int(expected.counts.min()) > 3
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("form", ["arrays", "tensors"])
def test_nothing_is_found_where_nothing_is_good(form: str) -> None:
    raw = raw_output()._replace(
        quality=tuple(np.full_like(level, -40) for level in raw_output().quality)
    )
    found = decode_in(form, raw)
    assert not found.counts.any()
    assert not found.left_out.any()


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))

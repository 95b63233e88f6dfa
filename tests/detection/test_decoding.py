import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import nms

from foveal.detection import decoding_arrays
from foveal.detection.anchors import AnchorGrid
from foveal.detection.box_coding import decode_boxes
from foveal.detection.decoding import decode
from foveal.detection.decoding_tensors import best_candidates
from foveal.structures import PaddedDetections, RawOutput

GRID = AnchorGrid(sizes=(16.0, 32.0), strides=(8, 16))
SIZE = 96
CLASSES = 4


def raw_output(
    batch: int,
    *,
    seed: int = 0,
    bias: float = -2.0,
    spread: float = 2.0,
    classes: int = CLASSES,
    grid: AnchorGrid = GRID,
) -> RawOutput:
    rng = np.random.default_rng(seed)
    counts = [9 * rows * columns for rows, columns in grid.level_sizes(SIZE, SIZE)]
    return RawOutput(
        tuple(rng.normal(bias, spread, (batch, n, classes)).astype(np.float32) for n in counts),
        tuple(rng.normal(0, 0.3, (batch, n, 4)).astype(np.float32) for n in counts),
    )


def in_arrays(raw: RawOutput, *, grid: AnchorGrid = GRID, **settings) -> PaddedDetections:
    return decode(raw, grid.boxes(SIZE, SIZE), **settings)


def in_tensors(raw: RawOutput, *, grid: AnchorGrid = GRID, **settings) -> PaddedDetections:
    """The same by tensors; arrays are taken and given, as `in_arrays` does."""
    if settings.get("extents") is not None:
        settings["extents"] = torch.tensor(settings["extents"])
    tensors = RawOutput(*(tuple(torch.tensor(level) for level in part) for part in raw))
    found = decode(tensors, grid.tensor(SIZE, SIZE), **settings)
    assert all(isinstance(part, torch.Tensor) for part in found)
    return PaddedDetections(*(part.numpy() for part in found))


FORMS = pytest.mark.parametrize("form", [in_arrays, in_tensors])


def slow_decode(
    raw, image, *, extent, score_threshold, top, nms_iou, max_detections, class_agnostic=False
):
    """The paper's words, one image, one level and one class at a time."""
    boxes, logits, labels, start = [], [], [], 0
    anchors = GRID.tensor(SIZE, SIZE)
    for level, deltas in zip(*(map(torch.tensor, part) for part in raw[:2]), strict=True):
        flat = level[image].flatten()
        above = (flat.sigmoid() > score_threshold).nonzero().squeeze(1)
        index = above[flat[above].sort(descending=True, stable=True).indices[:top]]
        anchor = index // CLASSES
        of_level = anchors[start : start + level.shape[1]]
        start += level.shape[1]
        found = decode_boxes(deltas[image, anchor], of_level[anchor])
        boxes.append(torch.maximum(torch.minimum(found, extent[[2, 3, 2, 3]]), extent[[0, 1] * 2]))
        logits.append(flat[index])
        labels.append(index % CLASSES)
    boxes, logits, labels = torch.cat(boxes), torch.cat(logits), torch.cat(labels)
    groups = torch.zeros_like(labels) if class_agnostic else labels
    keep = []
    for group in groups.unique():
        members = (groups == group).nonzero().squeeze(1)
        keep.append(members[nms(boxes[members], logits[members], nms_iou)])
    keep = torch.cat(keep) if keep else labels
    keep = keep[logits[keep].sort(descending=True, stable=True).indices][:max_detections]
    return boxes[keep].numpy(), logits[keep].sigmoid().numpy(), labels[keep].numpy()


@FORMS
@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize(("score_threshold", "top"), [(0.05, 1000), (0.3, 50), (0.0, 200)])
def test_equals_the_slow_definition_for_a_batch(form, score_threshold, top, class_agnostic):
    raw = raw_output(3)
    extents = np.array([[0, 0, SIZE, SIZE], [0, 8, SIZE, 60], [5, 0, 40, SIZE]], np.float32)
    found = form(
        raw,
        extents=extents,
        score_threshold=score_threshold,
        top_per_level=top,
        class_agnostic=class_agnostic,
    )
    assert [part.dtype for part in found] == [
        np.float32,
        np.float32,
        np.int64,
        np.int64,
        np.float32,
    ]
    for image in range(3):
        boxes, scores, labels = slow_decode(
            raw,
            image,
            extent=torch.tensor(extents[image]),
            score_threshold=score_threshold,
            top=top,
            nms_iou=0.5,
            max_detections=100,
            class_agnostic=class_agnostic,
        )
        count = len(boxes)
        assert found.counts[image] == count > 0
        np.testing.assert_allclose(found.boxes[image, :count], boxes, atol=1e-4)
        np.testing.assert_allclose(found.scores[image, :count], scores, rtol=1e-5)
        assert np.array_equal(found.labels[image, :count], labels)
        for part in found[:3]:
            assert not part[image, count:].any()


def rounded(raw: RawOutput) -> RawOutput:
    """Few different logits, and anchors as boxes: ties everywhere."""
    return RawOutput(
        tuple(level.round() for level in raw.logits),
        tuple(np.zeros_like(level) for level in raw.deltas),
    )


def broken(raw: RawOutput) -> RawOutput:
    """Single numbers that no network should give; one anchor has nothing else."""
    for level, deltas in zip(*raw[:2], strict=True):
        for place, number in enumerate((np.nan, np.inf, -np.inf)):
            level[:, 3 + place :: 50, 0] = number
            deltas[:, 6 + place :: 50, place] = number
        level[:, 100:103] = np.nan
        level[:, 110:140] = np.inf
        level[:, 0] = 80.0 + np.arange(level.shape[2])  # scores of 1
        deltas[:, 7::5] *= 1000
    return raw


CHANGES = {"none": lambda raw: raw, "ties": rounded, "broken": broken}
GRIDS = {
    "two levels": GRID,
    "one level": AnchorGrid(sizes=(20.0,), strides=(8,)),
    "five levels": AnchorGrid(scales=(1.0,), ratios=(1.0,) * 9),
}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    batch=st.sampled_from([0, 1, 3]),
    classes=st.sampled_from([1, 4]),
    bias=st.sampled_from([-30.0, -6.0, -2.0, 2.0]),
    score_threshold=st.sampled_from([0.0, 0.05, 0.6, 1.0]),
    top=st.sampled_from([1, 60, 1000]),
    max_detections=st.sampled_from([1, 100, 500]),
    nms_iou=st.sampled_from([0.3, 0.5]),
    class_agnostic=st.booleans(),
    cut=st.booleans(),
    change=st.sampled_from(sorted(CHANGES)),
    grid=st.sampled_from(sorted(GRIDS)),
)
def test_arrays_give_what_tensors_give(
    seed,
    batch,
    classes,
    bias,
    score_threshold,
    top,
    max_detections,
    nms_iou,
    class_agnostic,
    cut,
    change,
    grid,
):
    raw = CHANGES[change](
        raw_output(batch, seed=seed, bias=bias, classes=classes, grid=GRIDS[grid])
    )
    extents = np.tile(np.array([4, 0, 90, 70], np.float32), (batch, 1)) if cut else None
    how = {
        "grid": GRIDS[grid],
        "extents": extents,
        "score_threshold": score_threshold,
        # Which of equals are the last of the best is torch's choice.
        "top_per_level": 10_000 if change == "ties" else top,
        "nms_iou": nms_iou,
        "max_detections": max_detections,
        "class_agnostic": class_agnostic,
    }
    found, expected = in_arrays(raw, **how), in_tensors(raw, **how)
    assert [(part.shape, part.dtype) for part in found] == [
        (part.shape, part.dtype) for part in expected
    ]
    assert np.array_equal(found.counts, expected.counts)
    assert np.array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-30)
    wild = np.abs(expected.boxes) > 1000  # beyond what an input can be, float32 is coarse
    np.testing.assert_allclose(found.boxes[~wild], expected.boxes[~wild], atol=1e-4, rtol=0)
    np.testing.assert_allclose(found.boxes[wild], expected.boxes[wild], rtol=1e-5)


@pytest.mark.parametrize("nms_method", ["soft_linear", "soft_gaussian"])
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_soft_nms_gives_the_same_of_arrays_and_tensors(nms_method, change):
    raw = CHANGES[change](raw_output(2, bias=-3.0))
    raw.logits[0][0], raw.logits[1][0] = -50.0, -50.0  # an image without candidates
    how = {"nms_method": nms_method, "max_detections": 60, "score_threshold": 0.1, "nms_iou": 0.1}
    how["extents"] = np.tile(np.array([4, 0, 90, 70], np.float32), (2, 1))
    found, expected = in_arrays(raw, **how), in_tensors(raw, **how)
    assert found.counts.tolist() == expected.counts.tolist() == [0, 60]
    assert found.left_out[1] == pytest.approx(expected.left_out[1], rel=1e-4)
    assert 0.1 < found.left_out[1] <= found.scores[1, -1]
    assert (np.diff(found.scores[1]) <= 0).all()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4)
    hard = in_arrays(raw, **{**how, "nms_method": "hard"})
    assert change == "broken" or not np.array_equal(hard.scores[1], found.scores[1])
    if change == "none":
        assert np.array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)


@FORMS
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("step", [20, 1000])
def test_logits_that_are_not_finite_take_no_place(form, number, step):
    broken, absent = raw_output(2), raw_output(2)
    for level in broken.logits:
        level[:, ::step, 1] = number
    for level in absent.logits:
        level[:, ::step, 1] = -100.0
    expected = form(absent, top_per_level=5)
    assert expected.counts.min() > 2
    for one, other in zip(form(broken, top_per_level=5), expected, strict=True):
        assert np.array_equal(one, other)


@FORMS
def test_of_equal_logits_the_first_level_anchor_and_class_is_first(form):
    raw = raw_output(1)
    for level, deltas in zip(*raw[:2], strict=True):
        level[:] = -9.0
        level[0, [40, 700 % level.shape[1]], 1:3] = 2.0
        deltas[:] = 0.0
    found = form(raw, nms_iou=1.0)
    boxes = GRID.boxes(SIZE, SIZE)
    anchors = [40, 700, 1296 + 40, 1296 + 700 % raw.logits[1].shape[1]]
    anchors = [*sorted(anchors[:2]), *sorted(anchors[2:])]
    assert found.counts.tolist() == [8]
    np.testing.assert_allclose(found.boxes[0, :8], boxes[np.repeat(anchors, 2)], atol=1e-4)
    assert found.labels[0, :8].tolist() == [1, 2] * 4


@FORMS
@pytest.mark.parametrize("top", [1, 7, 300])
def test_never_more_of_a_level_than_asked_for(form, top):
    found = form(raw_output(2, bias=3.0), top_per_level=top, nms_iou=1.0, max_detections=5000)
    assert found.counts.tolist() == [2 * top, 2 * top]
    raw = raw_output(2, bias=3.0)
    for image in range(2):
        best = [np.sort(level[image].ravel())[::-1][:top] for level in raw.logits]
        expected = np.sort(np.concatenate(best))[::-1]
        np.testing.assert_allclose(
            found.scores[image, : 2 * top], 1 / (1 + np.exp(-expected)), rtol=1e-5
        )


@FORMS
@pytest.mark.parametrize(("max_detections", "left_out"), [(1, 0.7), (2, 0.6), (3, 0.0), (9, 0.0)])
def test_the_best_that_the_limit_leaves_out_is_known(form, max_detections, left_out):
    """Three objects, each with a duplicate that NMS removes, in the first of two images."""
    raw = raw_output(2, bias=-50.0)
    for deltas in raw.deltas:
        deltas[:] = 0.0
    for anchor, score in ((0, 0.8), (300, 0.7), (600, 0.6)):
        raw.logits[0][0, anchor : anchor + 2, 0] = np.log(score / (1 - score))
    found = form(raw, max_detections=max_detections, nms_iou=0.2)
    assert found.counts.tolist() == [min(3, max_detections), 0]
    np.testing.assert_allclose(found.left_out, [left_out, 0], atol=1e-6)


@FORMS
@pytest.mark.parametrize(("top", "left_out"), [(1, 0.8), (2, 0.7), (4, 0.0)])
def test_what_a_level_leaves_out_is_known(form, top, left_out):
    """Its score is at most that of the last candidate that was taken."""
    raw = raw_output(1, bias=-50.0)
    for score, anchor in ((0.8, 0), (0.7, 300), (0.6, 600)):
        raw.logits[0][0, anchor, 0] = np.log(score / (1 - score))
    found = form(raw, top_per_level=top)
    np.testing.assert_allclose(found.left_out, [left_out], atol=1e-6)
    assert form(raw, top_per_level=top, score_threshold=0.9).left_out.tolist() == [0]


@FORMS
def test_a_batch_gives_the_same_as_one_by_one(form):
    raw = raw_output(4)
    together = form(raw)
    for image in range(4):
        single = RawOutput(*(tuple(level[image : image + 1] for level in part) for part in raw))
        for one, many in zip(form(single), together, strict=True):
            assert np.array_equal(one[0], many[image])


@FORMS
def test_nothing_above_the_threshold(form):
    found = form(raw_output(2, bias=-50.0))
    assert found.counts.tolist() == [0, 0]
    assert found.boxes.shape == (2, 100, 4)
    assert form(raw_output(2), score_threshold=1.0).counts.tolist() == [0, 0]
    assert form(raw_output(0)).boxes.shape == (0, 100, 4)


@FORMS
def test_nms_over_all_classes_keeps_fewer(form):
    raw = raw_output(1)
    many = form(raw, max_detections=1000)
    few = form(raw, max_detections=1000, class_agnostic=True)
    assert 0 < few.counts[0] < many.counts[0]


def test_low_precision_output_gives_float32_detections():
    raw = raw_output(1)
    low = RawOutput(*(tuple(torch.tensor(level).bfloat16() for level in part) for part in raw))
    found = decode(low, GRID.tensor(SIZE, SIZE))
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    half = RawOutput(*(tuple(level.astype(np.float16) for level in part) for part in raw))
    found = decode(half, GRID.boxes(SIZE, SIZE))
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.counts[0] > 0


def test_arrays_need_not_lie_in_order_in_memory():
    raw = raw_output(2)
    turned = RawOutput(
        *(tuple(np.asfortranarray(level) for level in part) for part in raw),
    )
    for one, other in zip(in_arrays(turned), in_arrays(raw), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("few", [0, decoding_arrays._FEW])
@pytest.mark.parametrize("above", [0, 5, 300, 2990])
@pytest.mark.parametrize("top", [1, 20, 1000])
def test_looking_into_blocks_finds_what_looking_at_each_finds(few, above, top, monkeypatch):
    rng = np.random.default_rng(above)
    logits = rng.normal(-9, 1, 3000).astype(np.float32)
    logits[rng.permutation(3000)[:above]] += 12
    logits[[7, 2999]] = np.nan, np.inf
    expected = [index for index in np.argsort(-logits, kind="stable") if 0 < logits[index] < np.inf]
    monkeypatch.setattr(decoding_arrays, "_FEW", few)
    best = decoding_arrays._best_of_level(logits, limit=np.float32(0), top=top)
    assert best.tolist() == expected[:top]


def test_candidates_of_tensors_have_shapes_that_depend_on_the_input_only():
    """What is traced for a graph with decoding inside."""
    logit = math.log(0.05 / 0.95)
    for bias in (-50.0, 3.0):
        raw = RawOutput(
            *(tuple(map(torch.tensor, part)) for part in raw_output(2, bias=bias)),
        )
        logits, labels, boxes, _ = best_candidates(
            raw, GRID.tensor(SIZE, SIZE), threshold_logit=logit, top_per_level=500
        )
        assert (logits.shape, labels.shape, boxes.shape) == ((2, 1000), (2, 1000), (2, 1000, 4))
        assert (logits.diff(dim=1)[logits[:, 1:] > -math.inf] <= 0).all()


def test_decoding_arrays_loads_no_torch():
    code = """
import sys
import numpy as np
from foveal.detection.anchors import AnchorGrid
from foveal.detection.decoding import decode
from foveal.inference.test_time_augmentation import merge
from foveal.structures import RawOutput
grid = AnchorGrid(sizes=(16.0,), strides=(8,))
anchors = grid.boxes(32, 32)
numbers = np.zeros((1, len(anchors), 4), np.float32)
raw = RawOutput((numbers[..., :2],), (numbers,))
assert decode(raw, anchors).counts[0] > 0
assert not {"torch", "torchvision"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

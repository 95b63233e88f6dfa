"""Weighted box fusion: by hand, and against the paper's words."""

import numpy as np
import pytest

from foveal.geometry.arrays import iou
from foveal.inference.box_fusion import fuse_boxes


def fuse(boxes, scores, groups, *, views, **more):
    return fuse_boxes(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(scores, np.float32),
        np.asarray(groups, np.int64),
        views=views,
        **more,
    )


def test_by_hand():
    # Two looks at one object, one at another, which the second look has not seen.
    fused = fuse(
        [[0, 0, 10, 10], [0, 2, 10, 12], [50, 50, 60, 60]], [0.9, 0.6, 0.8], [0] * 3, views=2
    )
    assert fused.scores.tolist() == pytest.approx([0.75, 0.4])
    assert fused.boxes[0].tolist() == pytest.approx([0, 0.8, 10, 10.8])
    assert fused.boxes[1].tolist() == [50, 50, 60, 60]
    assert fused.best.tolist() == [0, 2]


def test_more_candidates_than_looks_give_their_mean():
    fused = fuse([[0, 0, 10, 10]] * 3, [0.9, 0.6, 0.3], [0] * 3, views=2)
    assert fused.scores.tolist() == pytest.approx([0.6])


def test_only_what_is_of_one_group_and_overlaps_enough_is_one_object():
    assert len(fuse([[0, 0, 10, 10]] * 2, [0.9, 0.6], [0, 1], views=2).scores) == 2
    tenth = [[0, 0, 10, 10], [0, 0, 10, 6]]
    assert len(fuse(tenth, [0.9, 0.6], [0, 0], views=2, iou_threshold=0.61).scores) == 2
    assert len(fuse(tenth, [0.9, 0.6], [0, 0], views=2, iou_threshold=0.59).scores) == 1


def test_nothing_and_nothing_sure():
    assert [part.shape for part in fuse([], [], [], views=2)] == [(0, 4), (0,), (0,)]
    fused = fuse([[0, 0, 10, 10], [0, 0, 10, 9]], [0.0, 0.0], [0, 0], views=2)
    assert (fused.boxes.tolist(), fused.scores.tolist()) == ([[0, 0, 10, 10]], [0])


def by_the_paper(boxes, scores, groups, *, views):
    """Section 3, step by step: lists L of boxes and F of fused boxes."""
    clusters, fused = [], []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        near = [
            (iou(np.array(f), boxes[i].astype(float)), -n)
            for n, f in enumerate(fused)
            if groups[clusters[n][0]] == groups[i]
        ]
        overlap, place = max(near, default=(0, 0))
        if overlap > 0.55:
            clusters[-place].append(i)
        else:
            clusters.append([i])
            fused.append(None)
            place = 1 - len(clusters)
        members = clusters[-place]
        fused[-place] = np.average(boxes[members].astype(float), axis=0, weights=scores[members])
    means = [
        np.mean(scores[members].astype(float)) * min(len(members), views) / views
        for members in clusters
    ]
    order = sorted(range(len(means)), key=lambda n: -means[n])
    return np.array([fused[n] for n in order]), np.array([means[n] for n in order])


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_papers_words(seed):
    rng = np.random.default_rng(seed)
    objects = rng.uniform(0, 100, (20, 2))
    corners = (objects + rng.normal(0, 1, (4, 20, 2))).reshape(-1, 2)
    boxes = np.concatenate([corners, corners + rng.uniform(18, 22, (80, 2))], 1).astype(np.float32)
    scores, groups = rng.uniform(0.1, 1, 80).astype(np.float32), rng.integers(0, 2, 80)
    fused = fuse(boxes, scores, groups, views=4)
    expected, their_scores = by_the_paper(boxes, scores, groups, views=4)
    assert 15 < len(fused.scores) < 60
    np.testing.assert_allclose(fused.scores, their_scores, rtol=1e-5)
    np.testing.assert_allclose(fused.boxes, expected, atol=1e-3)

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from foveal.evaluation.coco_metrics import (
    LARGE,
    SMALL,
    coco_numbers,
    make_range_table,
    twelve,
)
from foveal.evaluation.evaluate import NAMES, evaluate, quick_numbers
from foveal.evaluation.matching import make_pool
from foveal.structures import Detections, Target


def as_coco(detections, targets, classes):
    images = [{"id": i + 1} for i in range(len(targets))]
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(classes)]
    truth, results = [], []
    for i, target in enumerate(targets):
        sides = target.boxes.astype(float)
        sides[:, 2:] -= sides[:, :2]
        areas = sides[:, 2] * sides[:, 3] if target.areas is None else target.areas
        for box, label, ignored, area in zip(
            sides.tolist(), target.labels, target.ignored, areas, strict=True
        ):
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": i + 1,
                    "category_id": int(label) + 1,
                    "bbox": box,
                    "area": float(area),
                    "iscrowd": int(ignored),
                }
            )
    for i, found in enumerate(detections):
        sides = found.boxes.astype(float)
        sides[:, 2:] -= sides[:, :2]
        for box, label, score in zip(sides.tolist(), found.labels, found.scores, strict=True):
            results.append(
                {
                    "id": len(results) + 1,
                    "image_id": i + 1,
                    "category_id": int(label) + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "score": float(score),
                }
            )
    common = {"images": images, "categories": categories}
    return {**common, "annotations": truth}, {**common, "annotations": results}


def run_reference(detections, targets, classes, *, max_detections=100, library="pycocotools"):
    """The reference's precisions [T, R, K, A, M] and recalls [T, K, A, M], NaN where undefined."""
    if library == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for document in as_coco(detections, targets, classes):
            side = COCO()
            side.dataset = document
            side.createIndex()
            sides.append(side)
        run = COCOeval(*sides, "bbox")
        run.params.maxDets = sorted({1, 10, 100, max_detections})
        run.evaluate()
        run.accumulate()
    precision, recall = (np.array(run.eval[name], float) for name in ("precision", "recall"))
    return np.where(precision < 0, np.nan, precision), np.where(recall < 0, np.nan, recall)


def mean(values):
    defined = values[~np.isnan(values)]
    return defined.mean() if defined.size else np.nan


def reference_numbers(precision, recall):
    # With most = 100 the limits are 1, 10, 100, with 300 they are 1, 10, 100, 300.
    return [
        mean(precision[:, :, :, 0, -1]),
        mean(precision[0, :, :, 0, -1]),
        mean(precision[5, :, :, 0, -1]),
        *(mean(precision[:, :, :, area, -1]) for area in (1, 2, 3)),
        *(mean(recall[:, :, 0, limit]) for limit in (0, 1, 2)),
        *(mean(recall[:, :, area, -1]) for area in (1, 2, 3)),
    ]


def our_numbers(detections, targets, classes, max_detections=100):
    pool = make_pool(detections, targets, classes=len(classes), max_detections=max_detections)
    return coco_numbers(
        pool,
        whole=make_range_table(pool),
        small=make_range_table(pool, high=SMALL),
        medium=make_range_table(pool, low=SMALL, high=LARGE),
        large=make_range_table(pool, low=LARGE),
    )


def check(case, *, max_detections=100, library="pycocotools"):
    precision, recall = run_reference(*case, max_detections=max_detections, library=library)
    means, per_class = our_numbers(*case, max_detections)
    np.testing.assert_allclose(twelve(means), reference_numbers(precision, recall), atol=1e-9)
    for label, numbers in enumerate(per_class):
        expected = reference_numbers(precision[:, :, [label]], recall[:, [label]])
        np.testing.assert_allclose(twelve(numbers), expected, atol=1e-9)
    np.testing.assert_allclose(means.ar_max, mean(recall[:, :, 0, -1]), atol=1e-9)


@pytest.mark.parametrize("seed", range(24))
def test_equals_pycocotools_with_ties_crowds_and_given_areas(draw, seed):
    check(draw(seed, side=(20, 60, 260)[seed % 3]))


def test_equals_pycocotools_beyond_100_detections_an_image(draw):
    case = draw(0, images=3, classes=2, fullest=220, side=200)
    assert max(len(found) for found in case[0]) > 300
    check(case, max_detections=300)
    check(case, max_detections=100)


@pytest.mark.parametrize("max_detections", [1, 5])
def test_equals_pycocotools_with_few_detections_allowed(draw, max_detections):
    case = draw(7)
    precision, _ = run_reference(*case, max_detections=max_detections)
    limit = sorted({1, 10, 100, max_detections}).index(max_detections)
    means, _ = our_numbers(*case, max_detections)
    assert means.ap == pytest.approx(mean(precision[:, :, :, 0, limit]), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_equals_faster_coco_eval(draw, seed):
    check(draw(seed), library="faster_coco_eval")


def test_equals_pycocotools_without_detections_and_without_objects(draw):
    detections, targets, classes = draw(1)
    nothing = [Detections(d.boxes[:0], d.scores[:0], d.labels[:0]) for d in detections]
    check((nothing, targets, classes))
    assert our_numbers(nothing, targets, classes)[0].ap == 0
    check((detections, [Target.empty()] * len(targets), classes))
    assert np.isnan(our_numbers(detections, [Target.empty()] * len(targets), classes)[0].ap)
    check((nothing, [Target.empty()] * len(targets), classes))


def test_equals_pycocotools_where_everything_is_to_be_ignored(draw):
    detections, targets, classes = draw(2)
    ignored = [Target(t.boxes, t.labels, np.ones(len(t), bool), t.areas) for t in targets]
    check((detections, ignored, classes))


def test_no_images_at_all():
    means, per_class = our_numbers([], [], ("a", "b"))
    assert np.isnan(twelve(means)).all()
    assert len(per_class) == 2


def test_perfect_detections_score_one(found, shown):
    boxes = ([0, 0, 20, 20], [30, 30, 80, 80], [100, 100, 220, 240])
    detections = [found(*((box, 0.9, 0) for box in boxes))]
    targets = [shown(*((box, 0) for box in boxes))]
    numbers = quick_numbers(detections, targets, ["a"])
    assert tuple(numbers) == NAMES
    assert numbers.pop("AR1") == pytest.approx(1 / 3)
    assert list(numbers.values()) == pytest.approx([1.0] * 11)


def test_quick_numbers_are_those_of_the_whole_evaluation(draw):
    case = draw(5, side=260)
    complete = evaluate(*case, resamples=0)
    assert quick_numbers(*case) == dict(zip(NAMES, twelve(complete.coco), strict=True))
    assert (complete.ap, complete.ap50, complete.ap75) == twelve(complete.coco)[:3]
    assert (complete.ap_small, complete.ap_medium, complete.ap_large) == twelve(complete.coco)[3:6]

"""The sentences of an evaluation: what each says, and what it leaves unsaid."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from tests.reports import results as made_up

from foveal.evaluation.evaluate import NAMES
from foveal.evaluation.results import CappedImage, Errors, ErrorType
from foveal.evaluation.story import (
    ERROR_NAMES,
    benchmark_numbers,
    cautions,
    costliest,
    found_nothing,
    headlines,
    images_in_words,
    largest_classes,
    limit_of_coco,
    overview,
)

TRUE = np.asarray([[4, 0], [6, 9]])


def test_headlines_are_whole_sentences() -> None:
    said = [one.sentence for one in headlines(made_up.evaluation(TRUE, TRUE + 1, ("a", "b")))]
    assert said[0] == "Found 92%, recall. Of the objects that are there, this part was found."
    assert said[2].startswith("AP50 0.620, 0.870 to 0.930 (95% interval). Quality over all")
    assert said[4] == (
        "Count error 2.00, objects an image, 21% of the true number. "
        "On average 2.00 too many an image."
    )


@pytest.mark.parametrize(("images", "names"), [(0, []), (3, ["Count error"])])
def test_only_what_is_defined_is_a_headline(images: int, names: list[str]) -> None:
    given = headlines(made_up.nothing(images=images))
    assert [one.name for one in given] == names
    assert not any("–" in one.sentence for one in given)


def test_without_objects_nothing_is_promised() -> None:
    nothing = made_up.nothing(images=3)
    assert cautions(nothing) == []
    assert overview(nothing) == (
        "There is no annotated object in 3 images, so quality can't be measured. "
        "Nothing was found either."
    )
    false = made_up.evaluation(np.zeros((3, 1), int), np.ones((3, 1), int), ("cell",))
    assert overview(false).endswith("All that was found is false (3 detections).")


def test_where_nothing_was_found_that_is_said_first() -> None:
    found = made_up.evaluation(TRUE, TRUE, ("a", "b"))
    assert not found_nothing(found)
    assert not found_nothing(made_up.nothing(images=3))
    lost = replace(found, coco=replace(found.coco, ap50=0.0004))
    assert found_nothing(lost)
    assert overview(lost).startswith(
        "The detector has learned nothing that holds here: AP50 is 0.000. There are 19 detections "
        "for 19 annotated objects in 2 images. Nothing else here says anything"
    )
    chance = replace(found, coco=replace(found.coco, ap50=0.004))
    assert overview(chance).startswith(
        "The detector has learned next to nothing that holds here: AP50 is 0.004. There are"
    )
    assert not found_nothing(replace(found, coco=replace(found.coco, ap50=0.02)))


def test_what_limits_left_out_is_told_even_without_objects() -> None:
    path = Path("smears", "a.png")
    for whole in (made_up.evaluation(TRUE, TRUE, ("a", "b")), made_up.nothing(images=3)):
        assert not any("limit" in sentence or "COCO" in sentence for sentence in cautions(whole))
        capped = replace(whole, images=3, capped=(CappedImage(0, path), CappedImage(2, None)))
        assert cautions(capped)[0].startswith(
            "In 2 of 3 images the detector's limit of detections was reached by detections that "
            "count (a.png, image 2): counts and recall are too low there. Predict with a higher "
            "limit: --max-detections N"
        )
        cut = replace(whole, detections=5000, beyond_limit=1234, beyond_limit_images=7)
        assert cautions(cut)[0] == (
            "COCO's numbers are made of the 100 best detections of an image and class: 1,234 of "
            "5,000 detections, in 7 images, are left out of them (--max-detections N takes more). "
            "Counts, recall, F1 and Pascal VOC's numbers take all."
        )


def test_images_without_objects_are_told_with_what_they_do() -> None:
    assert images_in_words(3, 0) == "3 images"
    whole = made_up.evaluation(TRUE, TRUE, ("a", "b"))
    assert not any("annotated object" in said for said in cautions(whole))
    said = cautions(replace(whole, images=35, images_without_objects=8))
    assert images_in_words(35, 8) == "35 images (8 without annotated objects)"
    assert (
        "8 of 35 images have no annotated object: whatever is found there counts as false. That "
        "is right where there is nothing; images that nobody has labeled must be left out."
    ) in said


def test_every_error_type_has_a_name() -> None:
    types = [one.name for one in fields(Errors) if one.type == "ErrorType"]
    assert [one.field for one in ERROR_NAMES] == types


def test_the_costliest_error_is_named() -> None:
    errors = made_up.evaluation(TRUE, TRUE, ("a", "b")).errors
    dear = replace(errors, duplicate=ErrorType(0.5, 1, 1))
    assert costliest(dear) == (
        'Most would be won by mending the type "found twice": AP50 would rise by 0.500.'
    )
    free = {one.field: ErrorType(float("nan"), 0, 0) for one in ERROR_NAMES}
    assert costliest(replace(errors, **free)).startswith("No type of error costs AP50")


def test_benchmark_numbers_have_the_names_of_the_metrics_file() -> None:
    evaluation = made_up.evaluation(TRUE, TRUE, ("a", "b"))
    names = [one.name for one in benchmark_numbers(evaluation, max_detections=100)]
    assert names == [*NAMES, "VOC2007", "VOC2012"]
    more = benchmark_numbers(evaluation.per_class[0], max_detections=300)
    assert [one.name for one in more if one.name not in names] == ["AR300"]
    values = {one.name: one.value for one in more}
    assert values["APs"] == evaluation.per_class[0].coco.ap_small
    assert values["AR300"] == evaluation.per_class[0].coco.ar_max


def test_another_limit_than_cocos_is_named() -> None:
    evaluation = made_up.evaluation(TRUE, TRUE, ("a", "b"))
    assert limit_of_coco(evaluation) == (
        "COCO's numbers take at most 100 detections of an image and class."
    )
    assert limit_of_coco(replace(evaluation, max_detections=1)) == (
        "COCO's numbers take at most 1 detection of an image and class; COCO's own limit is 100."
    )


def test_the_largest_classes_keep_their_order() -> None:
    true = np.asarray([[1, 5, 3]])
    largest = largest_classes(made_up.evaluation(true, true, ("a", "b", "c")), count=2)
    assert [(label, one.name) for label, one in largest] == [(1, "b"), (2, "c")]

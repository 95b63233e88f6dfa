"""What is said of images where a limit left detections out."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.outputs.capped import CappedTally, describe_capped
from foveal.structures import Detections


def image(name: str, left_out_score: float = 0.0) -> Detections:
    path = Path("smears", name) if name else None
    return Detections([], [], [], path=path, left_out_score=left_out_score)


@pytest.mark.parametrize("detections", [[], [image("a.png")]])
def test_where_nothing_was_left_out_there_is_nothing_to_say(detections: list[Detections]) -> None:
    assert describe_capped(detections, max_detections=100) == ""


def test_the_first_images_the_limit_and_the_ways_out_are_named() -> None:
    detections = [image("whole.png"), *(image(f"{letter}.png", 0.5) for letter in "abcd")]
    assert describe_capped(detections, max_detections=100) == (
        "In 4 of 5 images more was found than the limit of 100 detections lets through, or "
        "that of candidates for them (a.png, b.png, c.png and 1 more): their counts may be "
        "too low, and are marked as capped. Look again with "
        "--max-detections 400 (in Python predictor(max_detections=400)); "
        "--set decoding.max_detections=400 trains a model with that limit."
    )


def test_a_limit_inside_the_file_takes_another_export() -> None:
    said = describe_capped([image("", 0.5)], max_detections=1, decodes_inside=True)
    assert "(an image without a file)" in said
    assert "Export the model anew without --nms, and look again with --max-detections 4" in said


def test_a_loop_is_told_at_the_first_the_tenth_the_hundredth() -> None:
    tally = CappedTally()
    told = {}
    for number in range(1, 1101):
        # Every tenth image is whole.
        frame = image("", 0.0 if number % 10 == 0 else 0.5)
        if text := tally.add([frame], max_detections=100):
            told[number] = text
    assert list(told) == [1, 11, 111]
    assert told[1].startswith(describe_capped([image("", 0.5)], max_detections=100))
    assert told[1].endswith("told of when there are 10.")
    assert told[11].startswith("In 10 of 11 images so far more was found than the limit")
    assert told[111].endswith("again when there are 1,000.")
    assert (tally.images, tally.capped) == (1100, 990)


def test_many_at_once_are_told_of_once() -> None:
    tally = CappedTally()
    many = [image("", 0.5)] * 25
    assert "In 25 of 25 images" in tally.add(many, max_detections=100)
    assert tally.add(many, max_detections=100) == ""
    assert tally.add([image("")], max_detections=100) == ""
    assert "In 100 of 101 images so far" in tally.add([*many, *many], max_detections=100)

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.training.conftest import make_fake_batch

from foveal.errors import DataError, ImageError
from foveal.structures import RGB, Detection, Detections, PixelRange, Sample, Target

FOUND = Detections(
    np.arange(16, dtype=np.float32).reshape(4, 4),
    np.asarray([0.9, 0.7, 0.5, 0.2], np.float32),
    np.asarray([0, 1, 0, 2]),
    classes=("normal", "infected", "platelet"),
)


def test_filter_by_class_and_score():
    assert FOUND.filter("normal").scores.tolist() == pytest.approx([0.9, 0.5])
    assert FOUND.filter("platelet", "infected", score_threshold=0.3).names == ["infected"]
    assert FOUND.filter(score_threshold=0.5).names == ["normal", "infected", "normal"]
    assert len(FOUND.filter()) == 4
    assert FOUND.filter("infected").classes == FOUND.classes
    assert len(FOUND.select(np.zeros(4, np.bool_)).filter("normal")) == 0


def test_a_class_that_is_none_is_named():
    with pytest.raises(DataError, match=r"no class 'alien'\. Expected some of: normal, infected"):
        FOUND.filter("alien")


def test_items_slices_and_masks():
    assert isinstance(FOUND[1], Detection)
    one = FOUND[1]
    assert (one.label, one.name) == (1, "infected")
    assert one.score == pytest.approx(0.7)
    assert FOUND[-1].name == "platelet"
    assert FOUND[:2] == FOUND.select(np.array([0, 1]))
    assert FOUND[FOUND.scores > 0.6].names == ["normal", "infected"]
    assert FOUND[[3, 0]].labels.tolist() == [2, 0]
    assert [each.name for each in FOUND] == FOUND.names
    with pytest.raises(IndexError):
        FOUND[4]


def test_a_mark_of_what_was_left_out_is_carried():
    assert not FOUND.capped
    full = replace(FOUND, left_out_score=0.4)
    assert full.capped
    assert full != FOUND
    assert full[:1].capped
    assert full[full.scores > 0.6].capped
    assert full.filter("normal").capped
    assert Detections.concatenate([FOUND, full]).left_out_score == 0.4


def test_above_what_was_left_out_nothing_is_missing():
    full = replace(FOUND, left_out_score=0.4)
    assert full.above(0.4).capped
    assert not full.above(0.5).capped
    assert not full.filter("normal", score_threshold=0.5).capped


def test_equal_when_all_values_are():
    assert FOUND.select(np.arange(4)) == FOUND
    assert FOUND[:3] != FOUND
    assert FOUND.select(np.array([1, 0, 2, 3])) != FOUND
    assert FOUND != "something else"
    target = Target(FOUND.boxes, FOUND.labels, np.zeros(4, np.bool_))
    assert target == target.select(slice(None))
    assert target != Target(FOUND.boxes + 1, FOUND.labels, np.zeros(4, np.bool_))
    image = np.zeros((2, 2, 3), np.uint8)
    assert Sample(image, target) == Sample(image.copy(), target)
    assert Sample(image, target) != Sample(image + 1, target)
    assert Target.empty() == Target.empty()


def test_batches_are_compared_by_all_values():
    batch = make_fake_batch(1)
    assert batch == make_fake_batch(1)
    assert batch != make_fake_batch(2)
    assert batch != "something else"


@pytest.mark.parametrize(
    "value", [FOUND, Target.empty(), Sample(np.zeros((2, 2, 3), np.uint8), Target.empty())]
)
def test_what_can_change_is_no_key(value):
    with pytest.raises(TypeError, match=f"unhashable type: '{type(value).__name__}'"):
        hash(value)


def test_looks_at_one_image_are_joined_best_first():
    joined = Detections.concatenate([FOUND[2:], FOUND[:2]])
    assert joined == FOUND
    assert len(Detections.concatenate([FOUND[:0], FOUND[:0]])) == 0
    with pytest.raises(DataError, match="can't be joined"):
        Detections.concatenate([FOUND, Detections([], [], [], classes=("cell",))])
    with pytest.raises(DataError, match="at least one"):
        Detections.concatenate([])


def test_made_by_people():
    made = Detections([[0, 0, 2, 2]], [0.5], [0], classes=("cell",))
    assert (made.boxes.dtype, made.scores.dtype, made.labels.dtype) == ("<f4", "<f4", "<i8")
    assert Detections([], [], []).boxes.shape == (0, 4)
    with pytest.raises(DataError, match=r"boxes \[1, 3\].*expected \[N, 4\]"):
        Detections([[0, 0, 2]], [0.5], [0])
    with pytest.raises(DataError, match=r"scores \[2\]"):
        Detections([[0, 0, 2, 2]], [0.5, 0.4], [0])
    with pytest.raises(DataError, match="labels from 1 to 1 and 1 class names"):
        Detections([[0, 0, 2, 2]], [0.5], [1], classes=("cell",))


def test_targets_keep_their_areas_where_they_have_some():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 4, 4]], np.float32)
    labels, ignored = np.array([0, 1]), np.array([False, True])
    target = Target(boxes, labels, ignored, np.array([3.0, 8.0]))
    assert target.select(np.array([False, True])).areas.tolist() == [8]
    moved = target.transformed(boxes + 1)
    assert (moved.boxes[0, 0], moved.areas, moved.labels.tolist()) == (1, None, [0, 1])
    both = Target.concatenate([target, Target.empty(), target])
    assert (len(both), both.areas.tolist()) == (4, [3, 8, 3, 8])
    assert Target.concatenate([target, moved]).areas is None
    assert Target.concatenate([]) == Target.empty()


def test_a_pixel_range_has_limits_for_all_bands_or_for_each():
    assert PixelRange() == RGB
    assert PixelRange(4, (0.0,), (9.0,)) != PixelRange(4, (0.0,) * 4, (9.0,) * 4)
    for low, high in (((0,), ()), ((0, 1), (2, 3)), ((), (1, 2, 3))):
        message = rf"band_low has {len(low)} values and band_high {len(high)}\. .* each of 3 bands"
        with pytest.raises(ImageError, match=message):
            PixelRange(3, low, high)


def test_detections_say_what_is_where():
    assert repr(FOUND) == "2 normal, 1 infected, 1 platelet in an image"
    one = replace(FOUND[[0, 1, 2]], path=Path("a/smear.jpg"), width=640, height=480)
    assert repr(one) == "2 normal, 1 infected in smear.jpg (640 x 480)"
    assert repr(one[:0]) == "nothing in smear.jpg (640 x 480)"
    full = repr(replace(one[:1], left_out_score=0.4))
    assert full.endswith("(640 x 480); a limit was reached, there may be more")
    assert repr(Detections([[0, 0, 1, 1]], [1.0], [3])) == "1 of class 3 in an image"
    names = tuple(f"n{number}" for number in range(10))
    many = Detections(np.zeros((11, 4)), np.ones(11), [*range(10), 9], classes=names)
    assert repr(many) == (
        "2 n9, 1 n0, 1 n1, 1 n2, 1 n3, 1 n4, 1 n5, 1 n6, 2 of 2 other classes in an image"
    )


def test_detections_as_a_table():
    rows = replace(FOUND, path=Path("a/smear.jpg")).to_table()
    assert [row["label"] for row in rows] == FOUND.names
    assert {row["image"] for row in rows} == {str(Path("a/smear.jpg"))}
    corners = [[row[name] for name in ("xmin", "ymin", "xmax", "ymax")] for row in rows]
    assert corners == FOUND.boxes.tolist()
    assert [row["score"] for row in rows] == FOUND.scores.tolist()
    assert FOUND[:0].to_table() == []
    assert Detections([[0, 0, 1, 1]], [1.0], [3]).to_table()[0]["label"] == "3"


def test_a_notebook_shows_the_picture_where_there_is_a_file(tmp_path, caplog):
    path = tmp_path / "smear.png"
    Image.new("RGB", (32, 24)).save(path)
    one = Detections([[4, 4, 9, 9]], [0.9], [0], classes=("cell",), width=32, height=24, path=path)
    with Image.open(BytesIO(one._repr_png_())) as picture:
        assert picture.size[0] / picture.size[1] == 32 / 24
    assert replace(one, path=None)._repr_png_() is None
    assert not caplog.records
    assert replace(one, path=tmp_path / "gone.png")._repr_png_() is None
    assert "gone.png" in caplog.text


def test_a_sample_says_what_it_is_and_shows_no_pixels():
    target = Target(FOUND.boxes, FOUND.labels, np.array([True, False, False, False]))
    sample = Sample(np.zeros((2, 3, 5), np.uint8), target, "a.tif")
    assert repr(sample) == "<Sample a.tif: 3 x 2, 5 bands, 3 objects, 1 region to ignore>"
    assert repr(Sample(np.zeros((2, 2, 3), np.uint8), Target.empty())) == (
        "<Sample of an image: 2 x 2, 3 bands, 0 objects>"
    )

"""The newer checks, each by itself: what it tells of, and what it passes over."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.checks.cases import (
    enlarge,
    find,
    healthy,
    kinds,
    make_image,
    make_reading,
    make_record,
)

from foveal.data.checks.catalog import CHECKS, choose_checks
from foveal.data.checks.diagnose import diagnose
from foveal.data.checks.findings import Diagnosis
from foveal.data.checks.names import LOOKS_FOR, OF_PIXELS
from foveal.data.checks.pixels import is_flat
from foveal.data.checks.subject import InputGrid
from foveal.data.dataset import Record
from foveal.data.opening import AS_FOUND, Reading, read_for_doctor


def look(name: str, *readings: Reading, grid: InputGrid | None = None) -> Diagnosis:
    """What one check says."""
    diagnosis = diagnose(*readings, checks=[name], grid=grid)
    assert {finding.check for finding in diagnosis.findings} <= {name}
    return diagnosis


@pytest.mark.parametrize("name", CHECKS)
def test_no_images_are_no_crash_for_any_check(name: str, tmp_path: Path) -> None:
    nothing = make_reading(tmp_path, [], ())
    assert look(name, nothing, grid=InputGrid(None)).findings == ()
    assert look(name, nothing, nothing, grid=InputGrid(None, rule="location")).findings == ()


def test_every_check_says_what_it_looks_for() -> None:
    assert list(LOOKS_FOR) == list(CHECKS)
    assert set(LOOKS_FOR) > OF_PIXELS
    assert all(inspect.getdoc(check) or check.__qualname__ for check in CHECKS.values())


def test_checks_keep_their_order_however_they_are_named() -> None:
    assert choose_checks(["flat_images", "annotations"]) == ("annotations", "flat_images")
    assert choose_checks(skip=["annotations"]) == tuple(LOOKS_FOR)[1:]


# Huge boxes and slivers


def test_a_box_of_exactly_the_image_is_a_doubt(tmp_path: Path) -> None:
    boxes = [[0, 0, 64, 48], [1, 1, 63, 47], [4, 4, 60, 40]]
    found = find(
        look("huge_boxes", make_reading(tmp_path, [make_record(tmp_path / "a.png", boxes)])),
        "huge box",
    )
    assert (found.level, found.count) == ("doubt", 2)
    assert found.places[0] == "a.png, object 1: 64 x 48 px of 64 x 48"


def test_a_few_objects_that_fill_their_image_are_information(tmp_path: Path) -> None:
    boxes = [[1, 1, 63, 47], *([4, 4, 30 + i / 10, 40] for i in range(40))]
    records = [make_record(tmp_path / "a.png", boxes), make_record(tmp_path / "b.png", boxes[:1])]
    records[1] = Record(*[tmp_path / "b.png", 0, 0], *_columns(boxes[:1]))  # of unknown size

    found = find(look("huge_boxes", make_reading(tmp_path, records)), "huge box")

    assert (found.level, found.count) == ("information", 1)


def _columns(boxes: list[list[float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = len(boxes)
    return np.array(boxes, np.float32), np.zeros(count, np.int64), np.zeros(count, bool)


def test_slivers_are_told_where_their_class_has_few(tmp_path: Path) -> None:
    compact, masts = (
        [[4, 4, 30, 30 - i / 9] for i in range(30)],
        [[i, 2, i + 3, 46] for i in range(5)],
    )
    boxes = [[4, 10, 60, 14], [5, 20, 60, 21.5], *compact, *masts]
    labels = [0] * 32 + [1] * 5
    data = make_reading(
        tmp_path, [make_record(tmp_path / "a.png", boxes, labels)], ("ship", "mast")
    )

    found = find(look("sliver_boxes", data), "sliver")

    # The second one is thin enough to be told as tiny.
    assert found.places == ("a.png, object 1 (ship): 56 x 4 px",)


# Boxes as stored


def make_turned(path: Path, *, orientation: int = 6) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (96, 64), (9, 99, 9)).save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    ("orientation", "box", "told"),
    [
        (6, [70, 4, 95, 60], True),  # 64 x 96 when turned: only as stored does this one fit
        (8, [70, 4, 95, 60], True),
        (6, [4, 70, 60, 95], False),  # only as turned
        (6, [4, 4, 60, 60], False),  # either way
        (1, [70, 4, 95, 60], False),
        (3, [70, 4, 95, 60], False),
        (6, [70, 70, 95, 95], False),  # neither
    ],
)
def test_boxes_that_fit_as_stored_alone(
    tmp_path: Path, orientation: int, box: list[float], told: bool
) -> None:
    path = make_turned(tmp_path / "a.jpg", orientation=orientation)
    record = make_record(path, [[1, 1, 9, 9], box], size=(0, 0))

    diagnosis = look("turned_boxes", make_reading(tmp_path, [record]))

    assert bool(diagnosis.findings) == told
    if told:
        found = find(diagnosis, "boxes as stored")
        assert found.level == "fault"
        assert "64 x 96 px, stored as 96 x 64" in found.places[0]
        assert "-Orientation=" in found.advice


def test_what_is_advised_mends_boxes_as_stored(tmp_path: Path) -> None:
    make_turned(tmp_path / "a.jpg")
    file = tmp_path / "boxes.csv"
    file.write_text("image,xmin,ymin,xmax,ymax,label\na.jpg,70,4,95,60,cell\n", encoding="utf-8")
    (reading,) = read_for_doctor([(file, AS_FOUND)])
    assert kinds(look("turned_boxes", reading)) == {"boxes as stored"}

    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.jpg", exif=Image.Exif())
    (mended,) = read_for_doctor([(file, AS_FOUND)])

    assert diagnose(mended, checks=["annotations", "turned_boxes", "image_sizes"]).findings == ()


def test_images_that_say_otherwise_outweigh_a_few(tmp_path: Path) -> None:
    boxes = [[70, 4, 95, 60], [4, 70, 60, 95]]
    records = [
        make_record(make_turned(tmp_path / f"{i}.jpg"), [box], size=(0, 0))
        for i, box in enumerate(boxes)
    ]
    assert look("turned_boxes", make_reading(tmp_path, records)).findings == ()


# Equal labels


def test_labels_of_another_image_are_told(tmp_path: Path) -> None:
    records = healthy(tmp_path, 3)
    stolen = make_image(tmp_path / "stolen.png", color=8)
    records += [make_record(stolen, records[1].boxes)]

    found = find(look("equal_labels", make_reading(tmp_path, records)), "equal labels")

    assert (found.level, found.places) == ("doubt", ("stolen.png = 1.png (2 objects)",))


def test_labels_as_shares_are_equal_in_images_of_other_sizes(tmp_path: Path) -> None:
    (first,) = healthy(tmp_path, 1)
    larger = make_image(tmp_path / "larger.png", color=8, width=128, height=96)
    records = [first, make_record(larger, first.boxes * 2, size=(128, 96))]

    assert find(look("equal_labels", make_reading(tmp_path, records)), "equal labels").count == 1


def test_equal_labels_that_may_be_right_are_passed_over(tmp_path: Path) -> None:
    (first,) = healthy(tmp_path, 1)
    copy = enlarge(first.path, tmp_path / "copy.png")
    others = [make_image(tmp_path / f"other_{i}.png", color=20 + i) for i in range(4)]
    records = [
        first,
        make_record(copy, first.boxes, size=(64, 48)),  # looks the same
        make_record(others[0], [[1, 1, 9, 9]]),  # one object may be so by chance
        make_record(others[1], [[1, 1, 9, 9]]),
        make_record(others[2], [[0, 0, 64, 48]] * 2, [0, 1]),  # labels of the whole image
        make_record(others[3], [[0, 0, 64, 48]] * 2, [0, 1]),
        make_record(tmp_path / "empty_1.png"),
        make_record(tmp_path / "empty_2.png"),
    ]
    data = make_reading(tmp_path, records, ("a", "b"))

    assert look("equal_labels", data).findings == ()


# Shares of classes


def make_counts(root: Path, counts: list[tuple[int, int]]) -> list[Record]:
    """Records with so many objects of each of two classes."""
    return [
        make_record(root / f"{i}.png", [[1, 1, 9, 9]] * (a + b), [0] * a + [1] * b)
        for i, (a, b) in enumerate(counts)
    ]


def test_a_class_far_more_frequent_in_one_split_is_a_doubt(tmp_path: Path) -> None:
    train = make_reading(tmp_path, make_counts(tmp_path, [(5, 2), (6, 2)] * 50), ("a", "b"))
    alike = make_reading(tmp_path, make_counts(tmp_path, [(5, 2), (5, 1)] * 15), ("a", "b"))
    other = make_reading(tmp_path, make_counts(tmp_path, [(8, 0), (9, 1)] * 15), ("a", "b"))

    assert look("class_shares", train, alike).findings == ()
    found = find(look("class_shares", train, other), "skewed split")
    assert (found.level, found.count) == ("doubt", 1)
    assert found.places == (
        "'b': 26.7% of the objects in the training data, 5.6% in the validation data",
    )


@pytest.mark.parametrize("count", [0, 1, 19])
def test_of_few_images_no_shares_are_told(tmp_path: Path, count: int) -> None:
    train = make_reading(tmp_path, make_counts(tmp_path, [(5, 2)] * 100), ("a", "b"))
    few = make_reading(tmp_path, make_counts(tmp_path, [(7, 0)] * count), ("a", "b"))

    assert look("class_shares", train, few).findings == ()


def test_splits_drawn_at_random_are_rarely_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # Most images have none of the rare class, some have many: shares differ by chance a lot.
    counts = [(int(a), int(b)) for a, b in zip(
        rng.poisson(8, 300), rng.poisson(9, 300) * (rng.random(300) < 0.08), strict=True
    )]  # fmt: skip
    told = 0
    for _ in range(20):
        order = rng.permutation(300)
        parts = [
            make_reading(tmp_path, make_counts(tmp_path, [counts[i] for i in chosen]), ("a", "b"))
            for chosen in (order[40:], order[:40])
        ]
        told += bool(look("class_shares", *parts).findings)
    assert told == 0


# Pixels


def test_images_of_one_value_are_told(tmp_path: Path) -> None:
    paths = [make_image(tmp_path / "noise.png", color=1)]
    for name, value in (("black.png", 0), ("gray.jpg", 119)):
        Image.new("RGB", (64, 48), (value,) * 3).save(tmp_path / name)
        paths.append(tmp_path / name)
    nearly = np.full((480, 640), 90, np.uint8)
    nearly[7, 9] = 91
    Image.fromarray(nearly).save(tmp_path / "nearly.png")
    records = [make_record(path) for path in [*paths, tmp_path / "nearly.png"]]
    records[1] = make_record(paths[1], [[1, 1, 9, 9]])

    found = find(look("flat_images", make_reading(tmp_path, records)), "flat image")

    assert found.level == "doubt"
    assert found.places == ("black.png: 1 object in it", "gray.jpg")


def test_a_large_image_is_looked_at_part_by_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foveal.data.checks.pixels.SMALL", 1000)
    monkeypatch.setattr("foveal.data.checks.pixels._ROWS", 7)
    pixels = np.full((60, 40), 7, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "flat.tif")
    pixels[59, 39] = 8
    Image.fromarray(pixels).save(tmp_path / "other.tif")

    assert is_flat(tmp_path / "flat.tif")
    assert not is_flat(tmp_path / "other.tif")
    assert not is_flat(tmp_path / "gone.tif")


def test_near_duplicates_of_one_data_set_are_a_doubt(tmp_path: Path) -> None:
    records = healthy(tmp_path, 4)
    twin = tmp_path / "twin.png"
    twin.write_bytes(records[2].path.read_bytes())
    records += [make_record(enlarge(records[1].path, tmp_path / "larger.png")), make_record(twin)]

    diagnosis = look("near_duplicates", make_reading(tmp_path, records))

    # Files of the same content are told by another check.
    found = find(diagnosis, "near-duplicates")
    assert (found.level, found.count) == ("doubt", 1)
    assert found.what == "1 group of images that look alike (2 images)"
    assert found.places[0].startswith("1.png, larger.png (similarity ")


def test_mirrored_copies_are_told_on_request(tmp_path: Path) -> None:
    records = healthy(tmp_path, 2)
    mirror = tmp_path / "mirror.png"
    Image.open(records[0].path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirror)
    data = make_reading(tmp_path, [*records, make_record(mirror)])

    assert look("near_duplicates", data).findings == ()
    assert kinds(diagnose(data, checks=["near_duplicates"], mirrored=True)) == {"near-duplicates"}


def test_validation_images_that_look_like_training_images_are_told(tmp_path: Path) -> None:
    train = make_reading(tmp_path / "a", healthy(tmp_path / "a", 4))
    twin = tmp_path / "b" / "twin.png"
    larger = enlarge(train.dataset.paths[3], tmp_path / "b" / "larger.png")
    records = [make_record(larger), *healthy(tmp_path / "b", first_color=50)]
    twin.write_bytes(train.dataset.paths[1].read_bytes())
    valid = make_reading(tmp_path / "b", [*records, make_record(twin)])

    diagnosis = look("near_leakage", train, valid)

    found = find(diagnosis, "near-duplicate in both")
    assert found.what == "1 image of the validation data that looks like one of the training data"
    one, other = found.places[0].partition(" (")[0].split(" ~ ")
    assert (Path(one).name, other) == ("larger.png", str(tmp_path / "a" / "3.png"))
    # Within each of them nothing looks alike.
    assert look("near_duplicates", train, valid).findings == ()


def test_splits_of_one_address_are_compared(tmp_path: Path) -> None:
    records = healthy(tmp_path, 4)
    twin = tmp_path / "twin.png"
    twin.write_bytes(records[0].path.read_bytes())
    data = make_reading(
        tmp_path,
        [
            *records,
            make_record(enlarge(records[1].path, tmp_path / "larger.png")),
            make_record(twin),
        ],
    )
    split = Reading(data.dataset, (), {"train": range(4), "val": range(4, 6)})

    near = find(look("near_leakage", split), "near-duplicate in both")
    assert near.what == "1 image that looks like one of another split"
    same = find(look("duplicate_images", split), "same image in both")
    assert (same.level, same.what) == ("fault", "1 image in more than one split")
    assert look("near_duplicates", split).findings == ()
    assert kinds(look("duplicate_images", data)) == {"duplicate image"}


def test_splits_that_an_address_names_are_known(shared: Path) -> None:
    address = f"{shared / 'data' / 'bccd'}:train+val"
    (reading,) = read_for_doctor([(address, AS_FOUND)])

    assert [len(indices) for indices in reading.splits.values()] == [205, 87]
    # One field of the microscope, in two depths of focus, is in both.
    found = find(look("near_leakage", reading), "near-duplicate in both")
    assert found.count == 1
    assert "BloodImage_00037.jpg ~ " in found.places[0]


# Objects too small


@pytest.mark.parametrize(
    ("sides", "level", "what"),
    [
        ([30] * 5, None, ""),
        ([30] * 9 + [15], None, ""),  # few, and not next to nothing
        ([30] * 9 + [7], "doubt", "1 object of 10 (10.0%) smaller than 8 px at this input size"),
        ([30] * 199 + [7], "information", "1 object of 200 (0.5%) smaller than 8 px"),
        ([30] * 3 + [15] * 2, "doubt", "2 objects of 5 (40.0%) smaller than 16 px"),
    ],
)
def test_small_objects_of_one_anchor_a_location(
    tmp_path: Path, sides: list[int], level: str | None, what: str
) -> None:
    record = make_record(tmp_path / "a.png", [[1, 1, 1 + side, 1 + side] for side in sides])
    grid = InputGrid(None, rule="location", preset="standard")

    diagnosis = look("small_objects", make_reading(tmp_path, [record]), grid=grid)

    assert [finding.level for finding in diagnosis.findings] == ([level] if level else [])
    if level:
        assert find(diagnosis, "object too small").what.startswith(what)
        assert "Preset standard has one anchor every 8 px" in diagnosis.findings[0].advice

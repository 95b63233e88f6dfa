"""The doctor: each mistake is found where it is, and healthy data has none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tifffile
from tests.data.checks.cases import find, healthy, kinds, make_image, make_reading, make_record

from foveal.data.checks.diagnose import diagnose
from foveal.data.checks.subject import InputGrid
from foveal.data.formats.issues import AnnotationIssue, Kind
from foveal.data.opening import AS_FOUND, Reading, read_for_doctor
from foveal.data.transforms.preparation import Preparation


def test_healthy_data_has_no_findings(tmp_path: Path) -> None:
    data = make_reading(tmp_path, healthy(tmp_path))

    diagnosis = diagnose(data, grid=InputGrid(Preparation()), images=True)

    assert diagnosis.findings == ()
    assert not diagnosis.has_faults
    assert diagnosis.opened


def test_a_data_set_of_nothing_is_no_crash(tmp_path: Path) -> None:
    diagnosis = diagnose(make_reading(tmp_path, [], ()), grid=InputGrid(None), images=True)

    assert diagnosis.findings == ()
    json.dumps(diagnosis.to_dict(), allow_nan=False)


def test_missing_and_empty_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    records = [
        *healthy(tmp_path),
        make_record(tmp_path / "gone.png", [[1, 1, 9, 9]]),
        make_record(tmp_path / "folder.png", [[1, 1, 9, 9]]),
        make_record(tmp_path / "empty.png", [[1, 1, 9, 9]]),
    ]

    diagnosis = diagnose(make_reading(tmp_path, records), images=True)

    assert find(diagnosis, "missing image").count == 2
    assert "gone.png" in find(diagnosis, "missing image").places[0]
    assert find(diagnosis, "empty image").count == 1
    assert "broken image" not in kinds(diagnosis)
    assert diagnosis.has_faults


def test_broken_images_and_other_sizes_are_found(tmp_path: Path) -> None:
    records = healthy(tmp_path)
    cut = records[0].path
    cut.write_bytes(cut.read_bytes()[:60])
    make_image(records[1].path, color=9, width=48, height=64)

    unopened = diagnose(make_reading(tmp_path, records))
    opened = diagnose(make_reading(tmp_path, records), images=True)

    for found in (unopened, opened):  # a cut file's ending tells it
        assert kinds(found) == {"broken image", "size disagrees"}
        assert "0.png" in find(found, "broken image").places[0]
        assert "48 x 64, annotated as 64 x 48" in find(found, "size disagrees").places[0]
        assert "turned" in find(found, "size disagrees").places[0]
        assert "--sizes scale" in find(found, "size disagrees").advice


def test_a_missing_package_is_one_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = healthy(tmp_path)
    for record in records[:2]:
        tifffile.imwrite(record.path, np.zeros((48, 64, 3), np.uint16), photometric="rgb")
    monkeypatch.setitem(sys.modules, "tifffile", None)

    diagnosis = diagnose(make_reading(tmp_path, records), images=True, workers=0)

    missing = find(diagnosis, "package missing")
    assert missing.count == 2
    assert missing.places[0] == str(records[0].path)
    assert "pip install 'foveal[tiff]'" in missing.advice
    assert kinds(diagnosis) == {"package missing", "duplicate image"}


def test_images_are_opened_by_processes_too(tmp_path: Path) -> None:
    records = healthy(tmp_path, 5)
    records[3].path.write_text("no image", encoding="utf-8")
    steps: list[tuple[int, int]] = []

    diagnosis = diagnose(
        make_reading(tmp_path, records),
        images=True,
        workers=2,
        progress=lambda done, total: steps.append((done, total)),
    )

    assert find(diagnosis, "broken image").count == 1
    # All are looked at twice: shrunk, and whole.
    assert steps == [(number // 2, 5) for number in range(1, 11)]


def test_duplicates_are_found_by_content(tmp_path: Path) -> None:
    records = healthy(tmp_path)
    twin = tmp_path / "twin.png"
    twin.write_bytes(records[1].path.read_bytes())
    # As large as another, but not the same.
    other = tmp_path / "other.png"
    content = bytearray(records[1].path.read_bytes())
    content[-1] ^= 255
    other.write_bytes(bytes(content))
    records += [make_record(twin, [[1, 1, 9, 9]]), make_record(other, [[1, 1, 9, 9]])]

    found = find(diagnose(make_reading(tmp_path, records)), "duplicate image")

    assert (found.level, found.count, found.places) == ("doubt", 1, ("twin.png = 1.png",))


def test_large_files_that_differ_only_in_the_middle_are_no_duplicates(tmp_path: Path) -> None:
    first, second = tmp_path / "a.bmp", tmp_path / "b.bmp"
    content = bytearray(300_000)
    first.write_bytes(bytes(content))
    content[150_000] = 1
    second.write_bytes(bytes(content))

    data = make_reading(tmp_path, [make_record(p, [[1, 1, 9, 9]]) for p in (first, second)])

    assert "duplicate image" not in kinds(diagnose(data))


def test_an_image_in_train_and_valid_is_a_fault(tmp_path: Path) -> None:
    train = healthy(tmp_path / "train")
    valid = healthy(tmp_path / "valid", 2, first_color=2)

    diagnosis = diagnose(
        make_reading(tmp_path / "train", train), make_reading(tmp_path / "valid", valid)
    )

    found = find(diagnosis, "same image in both")
    assert (found.level, found.count) == ("fault", 1)
    assert "2.png" in found.places[0]
    assert "0.png" in found.places[0]
    assert "duplicate image" not in kinds(diagnosis)
    assert len(diagnosis.statistics) == 2


def test_what_reading_collected_is_told_with_file_and_object(tmp_path: Path) -> None:
    problem = AnnotationIssue(
        "box without area", tmp_path / "a.xml", "object 4", "box (1, 1, 1, 1) has..."
    )
    data = make_reading(tmp_path, healthy(tmp_path))

    found = find(diagnose(Reading(data.dataset, (problem,) * 7)), "box without area")

    assert (found.level, found.count, len(found.places)) == ("fault", 7, 5)
    assert "a.xml, object 4" in found.places[0]
    assert found.what == "7 boxes without area"
    assert found.advice


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_problem_has_words_of_its_own(tmp_path: Path, kind: Kind) -> None:
    data = make_reading(tmp_path, healthy(tmp_path))

    found = find(
        diagnose(Reading(data.dataset, (AnnotationIssue(kind, tmp_path, "line 1", "wrong"),))), kind
    )

    assert found.what.startswith("1 ")
    assert "another kind" not in found.what


def test_width_and_height_taken_for_a_corner_are_guessed(tmp_path: Path) -> None:
    path = make_image(tmp_path / "a.png")
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 30, (20, 2))
    boxes = np.concatenate([corners, rng.uniform(3, 15, (20, 2))], axis=1)

    found = find(diagnose(make_reading(tmp_path, [make_record(path, boxes)])), "box convention")

    assert found.level == "fault"
    assert diagnose(make_reading(tmp_path, [make_record(path, boxes)])).findings[0] == found
    assert "x, y, width, height where corners are expected" in found.advice
    assert found.places[0].startswith("a.png, object ")


def test_corners_taken_for_width_and_height_are_guessed(tmp_path: Path) -> None:
    path = make_image(tmp_path / "a.png")
    rng = np.random.default_rng(0)
    first = rng.uniform(5, 30, (20, 2))
    second = first + rng.uniform(3, 18, (20, 2))
    # A reader that expects x, y, width, height makes corners of them.
    boxes = np.concatenate([first, first + second], axis=1)

    found = find(diagnose(make_reading(tmp_path, [make_record(path, boxes)])), "box convention")

    assert "holds corners where x, y, width, height are expected" in found.advice


def test_a_few_bad_boxes_are_no_other_convention(tmp_path: Path) -> None:
    path = make_image(tmp_path / "a.png")
    boxes = [[4 + i, 4, 30 + i, 30] for i in range(20)] + [[9, 9, 5, 5]] * 2

    data = make_reading(tmp_path, [make_record(path, boxes)])

    assert "box convention" not in kinds(diagnose(data))


def test_nearly_identical_boxes_are_found_once_each(tmp_path: Path) -> None:
    path = make_image(tmp_path / "a.png")
    boxes = [[4, 4, 44, 44], [0, 0, 9, 9], [4, 4, 44, 44.5], [4, 4.5, 44, 44], [20, 4, 60, 44]]

    data = make_reading(tmp_path, [make_record(path, boxes, [0, 0, 1, 0, 0])], ("a", "b"))
    found = find(diagnose(data), "nearly identical boxes")

    assert found.count == 2
    assert "a.png, object 1 and 3 (a and b)" in found.places
    assert "a.png, object 1 and 4 (a)" in found.places


def test_equal_boxes_of_different_images_are_not_identical(tmp_path: Path) -> None:
    data = make_reading(tmp_path, healthy(tmp_path, 4))

    assert "nearly identical boxes" not in kinds(diagnose(data))


def test_objects_of_hardly_any_pixels_are_a_doubt(tmp_path: Path) -> None:
    record = make_record(make_image(tmp_path / "a.png"), [[1, 1, 20, 2.5], [5, 5, 20, 20]])
    finding = find(diagnose(make_reading(tmp_path, [record])), "tiny object")
    assert (finding.level, finding.count) == ("doubt", 1)
    assert finding.places == ("a.png, object 1: 19.00 x 1.50 px",)


def test_classes_are_looked_at(tmp_path: Path) -> None:
    root = tmp_path
    classes = ("Red Cell", "red_cell", "once", "never", "type 1 5", "type 15")
    boxes = [[i, 2 * i, i + 20, 2 * i + 20] for i in range(9)]
    train = make_record(make_image(root / "a.png"), boxes, [0, 0, 1, 1, 2, 4, 4, 5, 5])
    valid = make_record(make_image(root / "b.png", color=7), [[1, 1, 9, 9]] * 2, [0, 1])

    diagnosis = diagnose(
        make_reading(root, [train], classes), make_reading(root, [valid], ("once", "new"))
    )

    assert find(diagnosis, "class written in several ways").places == ("'Red Cell' / 'red_cell'",)
    assert find(diagnosis, "class once").places == ("'once'",)
    assert find(diagnosis, "class never").places == ("'never'",)
    assert find(diagnosis, "class in valid only").places == ("'new': 1 in valid",)


def test_a_class_named_like_a_region_to_ignore_is_a_doubt(tmp_path: Path) -> None:
    path = make_image(tmp_path / "a.png")
    data = make_reading(
        tmp_path, [make_record(path, [[1, 1, 9, 9]] * 2, [0, 1])], ("car", "DontCare")
    )

    assert find(diagnose(data), "class to ignore").places == ("'DontCare'",)


def test_images_without_objects_are_information(tmp_path: Path) -> None:
    empty = make_record(make_image(tmp_path / "empty.png", color=99))

    diagnosis = diagnose(make_reading(tmp_path, [*healthy(tmp_path), empty]))

    found = find(diagnosis, "image without objects")
    assert (found.level, found.count) == ("information", 1)
    assert "25%" in found.what
    assert not diagnosis.has_faults


def test_objects_too_small_depend_on_the_input_size(tmp_path: Path) -> None:
    # Center (8, 8) of a 64 x 48 image: as far as can be from the places 4, 12, ... of stride 8.
    path = make_image(tmp_path / "a.png")
    boxes = [[4, 4, 12, 12], [20, 20, 60, 45]]
    data = make_reading(tmp_path, [make_record(path, boxes)], ("{x}",))

    native = diagnose(data, grid=InputGrid(None, strides=(8,)))
    larger = diagnose(data, grid=InputGrid(Preparation(shorter=480, longer=800), strides=(8,)))

    found = find(native, "object too small")
    assert (found.level, found.count) == ("doubt", 1)
    assert found.what == "1 object of 2 too small for any anchor at this input size: {x} 1"
    assert found.advice.startswith("foveal anchors says")
    assert found.places == ("a.png, object 1: 8.0 x 8.0 px at the input",)
    assert "object too small" not in kinds(larger)


def test_faults_come_first_and_json_holds_all(tmp_path: Path) -> None:
    records = [*healthy(tmp_path), make_record(tmp_path / "gone.png")]

    diagnosis = diagnose(make_reading(tmp_path, records, ("cell", "never")))
    plain = json.loads(json.dumps(diagnosis.to_dict(), allow_nan=False))

    assert [f["level"] for f in plain["findings"]] == ["fault", "information", "information"]
    assert plain["faults"] == 1
    assert plain["statistics"][0]["images"] == 4


def test_degenerate_boxes_of_real_data_are_reported(shared: Path) -> None:
    diagnosis = diagnose(*read_for_doctor([(f"{shared / 'data' / 'bccd'}:trainval", AS_FOUND)]))

    found = find(diagnosis, "box without area")
    assert found.count == 2
    assert "BloodImage_00338.xml, object 13" in found.places[0]
    assert "BloodImage_00343.xml, object 4" in found.places[1]
    assert diagnosis.has_faults


@pytest.mark.parametrize("name", ["coco_format_v1", "yolo_format", "pascalvoc_format"])
def test_healthy_real_data_is_found_healthy(shared: Path, name: str) -> None:
    diagnosis = diagnose(*read_for_doctor([(shared / "data" / "formats" / name, AS_FOUND)]))

    assert not diagnosis.has_faults

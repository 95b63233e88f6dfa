"""`foveal data check` as people call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import answer_in_json
from tests.data.checks.cases import enlarge, make_image
from typer.testing import CliRunner, Result

from foveal.cli import app
from foveal.errors import FovealError


def write_coco(folder: Path, *, boxes: list[list[float]], images: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(images):
        make_image(folder / f"{index}.png", color=index)
    file = folder / "train.json"
    document = {
        "images": [
            {"id": index, "file_name": f"{index}.png", "width": 64, "height": 48}
            for index in range(images)
        ],
        "annotations": [
            {"id": number, "image_id": 0, "category_id": 1, "bbox": box}
            for number, box in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "[red] cell"}],
    }
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def check(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["data", "check", *map(str, arguments)])


def test_healthy_data_ends_with_zero(tmp_path: Path) -> None:
    result = check(write_coco(tmp_path, boxes=[[2, 2, 30, 30]], images=2))

    assert result.exit_code == 0, result.output
    assert "2 images, 1 object, 1 class" in result.output
    assert "[red] cell 1" in result.output
    assert "1 image without objects" in result.output
    assert "\n    1.png\n" in result.output  # which one it is


def test_files_of_another_size_are_seen_and_boxes_scaled_to_them(tmp_path: Path) -> None:
    file = write_coco(tmp_path, boxes=[[2, 2, 30, 30]])
    file.write_text(file.read_text(encoding="utf-8").replace("64", "128").replace("48", "96"))

    result = check(file)
    assert result.exit_code == 1
    assert "2 images of another size than the annotations say" in result.output
    assert "--sizes scale" in result.output

    result = check(file, "--sizes", "scale")
    assert result.exit_code == 0, result.output
    assert "objects 15 to 15 px" in result.output


def test_faults_end_with_one_and_name_the_place(tmp_path: Path) -> None:
    file = write_coco(tmp_path, boxes=[[2, 2, 30, 30], [5, 5, 0, 9]])
    (tmp_path / "1.png").unlink()

    result = check(file)

    assert result.exit_code == 1
    assert "1 image missing" in result.output
    assert "1.png" in result.output
    assert "train.json, annotation 1" in result.output


def test_doubts_end_with_one_only_when_strict(tmp_path: Path) -> None:
    file = write_coco(tmp_path, boxes=[[2, 2, 30, 30], [2, 2, 30, 30]])

    assert check(file).exit_code == 0
    assert check(file, "--strict").exit_code == 1


def test_json_is_json_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("data", "check", write_coco(tmp_path, boxes=[]), "--images")
    found = answer_in_json(monkeypatch, capsys, *words)
    assert found["faults"] == 0
    assert found["opened"] is True
    assert found["statistics"][0]["objects"] == 0
    assert [f["kind"] for f in found["findings"]] == ["image without objects", "class never"]
    words = ("data", "check", write_coco(tmp_path, boxes=[[2, 2, -30, 30]]))
    assert answer_in_json(monkeypatch, capsys, *words, code=1)["outcome"] == "faults"


def test_validation_data_is_compared(tmp_path: Path) -> None:
    train = write_coco(tmp_path / "a", boxes=[[2, 2, 30, 30]])
    valid = write_coco(tmp_path / "b", boxes=[[2, 2, 30, 30]])

    result = check(train, "--valid", valid)

    assert result.exit_code == 1
    assert "2 images of the validation data also in the training data" in result.output


def test_the_input_size_decides_what_is_too_small(tmp_path: Path) -> None:
    # Center (8, 16): as far as can be from the places of every stride.
    file = write_coco(tmp_path, boxes=[[6, 14, 4, 4], [2, 2, 40, 30]])

    by_iou = check(file, "--size", "native", "--preset", "retinanet").output
    assert "1 object of 2 too small for any anchor" in by_iou
    assert "too small" not in check(file, "--size", "640", "--preset", "retinanet").output
    by_location = check(file, "--size", "native")
    assert "1 object of 2 (50.0%) smaller than 16 px" in by_location.output
    assert "Preset standard has one anchor every 8 px" in by_location.output
    assert "smaller than" not in check(file).output
    # A preset of windows shrinks nothing, and may halve the distance.
    assert "smaller than 8 px" in check(file, "--preset", "scenes").output


def test_checks_are_chosen_by_name(tmp_path: Path) -> None:
    file = write_coco(tmp_path, boxes=[[2, 2, 30, 30], [2, 2, 30, 30], [5, 5, 0, 9]])

    chosen = json.loads(check(file, "--checks", "annotations, rare_classes", "--json").stdout)
    assert [(f["kind"], f["check"]) for f in chosen["findings"]] == [
        ("box without area", "annotations")
    ]
    assert chosen["checks"] == ["annotations", "rare_classes"]
    result = check(file, "--skip", "annotations")
    assert result.exit_code == 0, result.output
    assert "[nearly_identical_boxes]" in result.output
    assert "[annotations]" not in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--checks", "near_duplicate"), "Did you mean near_duplicates?"),
        (("--skip", "everything"), "there is no such check"),
        (("--checks", "annotations", "--skip", "annotations"), "No check is left"),
        (("--checks", ","), "No check is left"),
    ],
)
def test_a_check_that_is_none_is_an_error(options: tuple[str, ...], said: str) -> None:
    result = check("nowhere", *options)

    assert isinstance(result.exception, FovealError)
    assert said in str(result.exception)


def test_checks_are_listed_without_data() -> None:
    result = check("--list-checks")

    assert result.exit_code == 0, result.output
    assert "near_leakage" in result.output
    assert "images of a single value" in result.output


def test_what_takes_long_is_left_out_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foveal.data.checks.diagnose.QUICK_IMAGES", 1)
    file = write_coco(tmp_path, boxes=[[2, 2, 30, 30]])
    quick = " ".join(check(file).output.split())
    assert "[near_duplicates]" not in quick
    assert "--checks near_duplicates,near_leakage,flat_images does it" in quick
    asked = check(file, "--checks", "near_duplicates", "--mirrored")
    assert "Not looked for" not in asked.output
    enlarge(tmp_path / "0.png", tmp_path / "1.png")
    assert "[near_duplicates]" in check(file, "--decode").output


@pytest.mark.parametrize("size", ["0", "-3", "big", "1e9"])
def test_an_impossible_size_is_an_error_that_says_what_was_expected(
    tmp_path: Path, size: str
) -> None:
    result = check(write_coco(tmp_path, boxes=[]), f"--size={size}")

    assert isinstance(result.exception, FovealError)
    assert "expected pixels" in str(result.exception)


def test_data_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert isinstance(check(tmp_path / "nowhere").exception, FovealError)

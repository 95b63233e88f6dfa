"""Studies train for minutes: here they parse their arguments and make their plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.benchmarks.conftest import SMALL

import foveal
from benchmarks.lib import few_images, yolo_training
from benchmarks.lib.kept_rows import claimed, keep_row
from benchmarks.lib.trained import epochs_in, self_train_foveal
from benchmarks.studies import (
    ablation,
    anchors_on_small_objects,
    audit,
    comparison_calibration,
    detectors,
    label_placement,
    small_objects,
    speed_accuracy,
    versus_torchvision,
)
from foveal.config import make_settings
from foveal.outputs.files import write_coco
from foveal.structures import Detections

PROGRAMS = (
    ablation, anchors_on_small_objects, audit, comparison_calibration, detectors,
    label_placement, small_objects, speed_accuracy, versus_torchvision,
)  # fmt: skip


def test_a_trial_of_the_ablation_changes_one_thing(tmp_path: Path) -> None:
    arguments = ["run", "--epochs", "3", "--set", "training.batch=4", "--work", str(tmp_path)]
    options = ablation.parse(arguments)
    assert options.seed == [0, 1, 2]
    trials = {name: ablation.settings_of(name, options, seed=7) for name in ablation.TRIALS}
    middle = trials["gamma 2"]
    assert (middle.loss.gamma, middle.loss.alpha, middle.model.prior) == (2, 0.25, 0.01)
    assert middle.anchors.per_location == 9
    assert middle.anchors.sizes == (16, 32, 64, 128, 256)
    assert (middle.model.box_coding, middle.model.box_bins) == ("deltas", 0)
    assert (middle.assignment.method, middle.loss.box) == ("iou", "smooth_l1")
    changed = {"anchors": ("scales", "ratios"), "loss": ("gamma", "alpha"), "model": ("prior",)}
    for name, settings in trials.items():
        training = settings.training
        assert (training.epochs, training.evaluate_every, training.batch) == (3, 3, 4)
        assert training.seed == 7
        same = {
            section: getattr(settings, section).model_copy(
                update={key: getattr(getattr(middle, section), key) for key in keys}
            )
            for section, keys in changed.items()
        }
        assert settings.model_copy(update=same) == middle, name
        assert (settings == middle) == (name == "gamma 2")
    per_location = {
        name: settings.anchors.per_location
        for name, settings in trials.items()
        if name in ablation.TABLES["anchors, scales x ratios"]
    }
    assert per_location == {
        name: int(name[0]) * int(name[-1]) for name in ablation.TABLES["anchors, scales x ratios"]
    }


def test_ablation_keeps_a_row_for_each_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, int]] = []

    def run_one(name: str, options: Any, *, seed: int) -> dict[str, Any]:
        trained.append((name, seed))
        if name == "1 x 1":
            raise ValueError("no memory")
        ap = None if "no prior" in name else 0.1 * (seed + 1)
        return {"trial": name, "AP": ap, "AP50": ap, "device": "a machine"}

    monkeypatch.setattr(ablation, "run_one", run_one)
    names = ["gamma 2", "no prior, gamma 2", "1 x 1"]
    only = [word for name in names for word in ("--only", name)]
    arguments = ["run", "--work", str(tmp_path), "--seed", "0", "--seed", "1", *only]
    assert ablation.main(arguments) == 2  # "1 x 1", twice
    assert trained == [(name, seed) for seed in (0, 1) for name in names]
    trained.clear()
    ablation.main(arguments)
    assert set(trained) == {("1 x 1", 0), ("1 x 1", 1)}, "what has a row is not trained again"
    assert ablation.main(["table", "--work", str(tmp_path), "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "ablation_hit_uav.json").read_text())
    gamma, diverged = written["rows"]
    assert (gamma["AP"], gamma["AP from"], gamma["AP to"]) == pytest.approx((0.15, 0.1, 0.2))
    assert (gamma["seeds"], gamma["paper's AP"]) == ("0, 1", 0.34)
    assert gamma["device"] == "a machine"
    assert (diverged["AP"], diverged["diverged"]) == (None, 2)
    picture = (tmp_path / "ablation_hit_uav.svg").read_text()
    assert picture.startswith("<svg")
    assert all(word in picture for word in ("gamma 2", "gamma of focal loss", "diverged"))
    with pytest.raises(SystemExit, match="holds no rows"):
        ablation.main(["table", "--work", str(tmp_path), "--data", "bccd"])


def test_anchors_are_the_only_difference() -> None:
    plan = anchors_on_small_objects.plan(anchors_on_small_objects.parse(["--size", "320"]))
    assert list(plan) == ["default", "fitted"]
    default, fitted = plan.values()
    assert default.anchors.ratios == (0.5, 1.0, 2.0)
    assert {"scales", "ratios"} <= default.anchors.model_fields_set
    assert not {"scales", "ratios"} & fitted.anchors.model_fields_set, "they are fitted"
    assert default.model_copy(update={"anchors": fitted.anchors}) == fitted
    assert fitted.preparation.shorter == 320


def test_small_objects_are_trained_for_minutes_by_every_contestant(tmp_path: Path) -> None:
    options = small_objects.parse(["--data", "hit-uav", "--work", str(tmp_path)])
    assert epochs_in(24, 50) == 29
    assert epochs_in(1, 600) == 1
    for contestants, _ in small_objects.STUDIES.values():
        assert len({each.name for each in contestants}) == len(contestants)
        for each in contestants:
            if each.preset:
                settings = small_objects.settings_of(each, options, epochs=7)
                assert settings.training.epochs == settings.training.evaluate_every == 7
                assert settings.model.backbone == "mobilenetv2_100"


@pytest.mark.parametrize("name", [*detectors.FOVEAL, "light-giou-mosaic", "standard-416-flips"])
def test_a_variant_is_a_preset_with_ingredients(name: str, tmp_path: Path) -> None:
    options = detectors.parse(["run", "--work", str(tmp_path), "--set", "training.batch=4"])
    settings = detectors.settings_of(name, options, epochs=7)
    assert settings.training.epochs == settings.training.evaluate_every == 7
    assert (settings.training.batch, settings.training.export) == (4, False)
    assert settings.model.backbone == "mobilenetv2_100"
    assert settings.loss.box == "giou"  # the presets' own
    assert (settings.augmentation.mosaic > 0) == ("mosaic" in name)
    with pytest.raises(SystemExit, match=f"{name}-nothing is no contestant"):
        detectors.settings_of(f"{name}-nothing", options, epochs=7)


def test_every_ingredient_is_a_setting(tmp_path: Path) -> None:
    options = detectors.parse(["run", "--work", str(tmp_path)])
    plain = detectors.settings_of("retinanet", options, epochs=1)
    for name in detectors.INGREDIENTS:
        assert detectors.settings_of(f"retinanet-{name}", options, epochs=1) != plain or name in (
            "640",
            "plain",
            "focal",
            "deltas",
        )
    light, deltas = (
        detectors.settings_of(name, options, epochs=1).model for name in ("light", "light-deltas")
    )
    assert (light.box_coding, light.box_bins) == ("distances", 17)
    assert (deltas.box_coding, deltas.box_bins, deltas.level_scales) == ("deltas", 0, False)


def test_epochs_of_a_file_that_another_machine_wrote(tmp_path: Path) -> None:
    file = tmp_path / "epochs.json"
    file.write_text('{"epochs": {"light": 40, "standard": 9}}')
    arguments = ["run", "--work", str(tmp_path), "--epochs-file", str(file)]
    options = detectors.parse(arguments)
    assert detectors.epochs_from_file("standard", options) == 9
    with pytest.raises(SystemExit, match=r"how many epochs light-giou gets, only light, standard"):
        detectors.epochs_from_file("light-giou", options)
    options = detectors.parse([*arguments, "--epochs-as", "light"])
    assert detectors.epochs_from_file("light-giou", options) == 40


@pytest.mark.usefixtures("shared")
def test_the_images_without_labels_are_the_others() -> None:
    few = few_images.DATA[f"bccd-{few_images.FEW}"]
    training, measured = few.read("test")
    assert few.read_more is not None
    others, valid = few.read_more()
    assert (len(training), len(others), len(valid), len(measured)) == (50, 155, 87, 72)
    names = [{path.name for path in each.paths} for each in (training, others, valid, measured)]
    assert len(set().union(*names)) == sum(map(len, names)), "no image is in two of them"


def test_only_foveals_learn_from_images_without_labels(drawn: Path, tmp_path: Path) -> None:
    for arguments in (["--data", "bccd"], ["--data", "bccd-50", "--only", "yolo11n"]):
        options = detectors.parse(["run", "--work", str(tmp_path), "--unlabeled", *arguments])
        name = (options.only or ["light"])[0]
        with pytest.raises(SystemExit, match=r"--unlabeled goes with foveal's and --data bccd-50"):
            detectors.self_train(name, options, foveal.read(drawn / "val.json"))
    arguments = ["run", "--work", str(tmp_path), "--unlabeled", "--data", "bccd-50"]
    options = detectors.parse([*arguments, "--epochs", "9"])
    with pytest.raises(SystemExit, match=r"--unlabeled takes --minutes"):
        detectors.self_train("light", options, foveal.read(drawn / "val.json"))


def test_two_trainings_with_images_that_nobody_labeled(drawn: Path, tmp_path: Path) -> None:
    data = foveal.read(drawn / "test.json")
    settings = make_settings(
        preset="light",
        overrides=[*SMALL, "training.epochs=1", "training.batch=2", "training.export=false"],
    )
    trained = self_train_foveal(
        data, foveal.read(drawn / "val.json"), settings, valid=data, out=tmp_path / "run"
    )
    # After one step nothing is sure, so that there is one round.
    assert (len(trained.seconds), len(trained.facts["AP of the rounds"])) == (1, 1)
    assert trained.evaluate(data).ap >= 0


def test_the_rows_of_the_detectors_become_a_table_and_a_picture(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"

    def row(name: str, seed: int, ap: float | None) -> dict[str, Any]:
        return {
            "name": name, "AP": ap, "AP50": ap, "AP under 32 px": None, "ms": 12.5, "epochs": 3,
            "minutes": 1.5, "input": 320, "parameters": 100,
            "device": "another" if seed else "a processor",
        }  # fmt: skip

    for name, seed, ap in (("light", 0, 0.5), ("light", 1, 0.6), ("torchvision-fcos", 0, None)):
        asked = {"contestant": name, "data": "bccd", "split": "val", "seed": seed}
        keep_row(work / f"{name}-{seed}.json", asked, lambda: row(name, seed, ap))  # noqa: B023
    assert detectors.main(["table", "--work", str(work), "--out", str(out)]) == 0
    light, other = json.loads((out / "detectors_bccd_val.json").read_text())["rows"]
    assert (light["AP"], light["AP from"], light["AP to"]) == pytest.approx((0.55, 0.5, 0.6))
    assert (light["seeds"], other["name"], other["AP"]) == ("0, 1", "torchvision-fcos", None)
    assert light["device"] == "a processor, another"
    assert "light" in (out / "detectors_bccd_val.svg").read_text()


def test_what_others_found_is_put_to_its_images(drawn: Path) -> None:
    data = foveal.read(drawn / "test.json")
    first, second = (record.path.stem for record in data)
    entries = [
        {"image_id": second, "category_id": 3, "bbox": [1, 2, 10, 20], "score": 0.3},
        {"image_id": second, "category_id": 1, "bbox": [5, 5, 10, 10], "score": 0.9},
    ]
    nothing, two = yolo_training.by_image(yolo_training.ultralytics_detections(entries), data)
    assert len(nothing) == 0
    assert two.labels.tolist() == [0, 2]
    assert two.boxes.tolist() == [[5, 5, 15, 15], [1, 2, 11, 22]]
    assert yolo_training.square_side(data, 60) == 64
    assert first != second


def test_data_for_yolo_has_both_splits(drawn: Path, tmp_path: Path) -> None:
    training, test = (foveal.read(drawn / f"{name}.json") for name in ("train", "test"))
    header = yolo_training.write_data(training, test, tmp_path / "data")
    assert header.read_text().startswith(f"path: {tmp_path}")
    again = foveal.read(f"{header.parent}:val")
    assert [len(record) for record in again] == [len(record) for record in test]
    assert len(foveal.read(f"{header.parent}:train")) == len(training)


def test_an_environment_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"yolo can't be run .* --environment ultralytics=FOLDER"):
        yolo_training.call([tmp_path / "bin" / "yolo"], tmp_path)
    options = detectors.parse(["run", "--work", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"yolo11n needs an environment .* ultralytics=FOLDER"):
        detectors.train_other("yolo11n", options, None, None, epochs=1)


def test_a_row_is_made_once_and_by_one_process(tmp_path: Path) -> None:
    file = tmp_path / "row.json"
    with claimed(file) as first, claimed(file) as second:
        assert (first, second) == (True, False)
    made = keep_row(file, {"seed": 0}, lambda: {"AP": float("nan"), "epochs": 3})
    assert made == {"AP": None, "epochs": 3, "asked": {"seed": 0}}
    assert keep_row(file, {"seed": 0}, lambda: pytest.fail("made again")) == made
    with pytest.raises(SystemExit, match=r"row.json holds {'seed': 0}"):
        keep_row(file, {"seed": 1}, dict)


def test_both_libraries_train_alike() -> None:
    options = versus_torchvision.parse(["--epochs", "2", "--batch", "4", "--precision", "float32"])
    settings, asked = versus_torchvision.plan(options)
    assert asked is not None
    assert settings.training.epochs == asked.epochs == 2
    assert settings.training.batch == asked.batch == 4
    assert asked.rate == pytest.approx(0.005), "0.01 for 8 images"
    assert settings.augmentation.flip_horizontal
    assert settings.augmentation.flip_vertical
    alone = versus_torchvision.parse(["--only-foveal"])
    assert versus_torchvision.plan(alone)[1] is None


def test_the_models_of_time_against_accuracy() -> None:
    options = speed_accuracy.parse(
        ["--model", "ours=best.safetensors", "--untrained", "R50=standard,model.backbone=resnet50"]
    )
    assert options.model == [("ours", "best.safetensors")]
    (name, text), *_ = options.untrained
    settings = speed_accuracy.untrained_settings(text, size=416)
    assert (name, settings.model.backbone, settings.preparation.shorter) == ("R50", "resnet50", 416)
    assert speed_accuracy.read_lines(None) == [speed_accuracy.DEFAULT_TORCHVISION]
    with pytest.raises(SystemExit):
        speed_accuracy.parse(["--model", "best.safetensors"])


def test_a_picture_of_time_against_accuracy() -> None:
    rows = [
        {"name": "ours", "by": "foveal", "AP": 0.5, "ms": 10.0},
        {"name": "theirs", "by": "torchvision", "AP": speed_accuracy.MISSING, "ms": 90.0},
    ]
    picture = speed_accuracy.draw(rows, data="bccd")
    assert picture.startswith("<svg")
    assert "theirs, no AP" in picture
    assert "ours" in picture


def test_a_line_that_names_no_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text('{"name": "theirs"}\n')
    with pytest.raises(SystemExit, match=r"lines.jsonl, line 1: KeyError\('backbone'\)"):
        speed_accuracy.read_lines(file)


def test_every_study_is_tested_and_in_the_table() -> None:
    folder = Path(ablation.__file__).parent
    programs = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert programs == {module.__name__.rpartition(".")[2] for module in PROGRAMS}
    table = (folder.parent / "README.md").read_text()
    assert [name for name in programs if f"`studies.{name}`" not in table] == []


def test_labels_are_foretold_from_the_edges_of_lone_cells() -> None:
    image = np.full((200, 300, 3), 220, np.uint8)
    corners = [(20, 20), (120, 20), (20, 120), (220, 100), (260, 150)]
    for left, top in corners:  # the last one touches the border
        image[top : top + 40, left : left + 40] = 120
    cells = label_placement.cell_edges(image)
    assert len(cells) == 4
    labels = cells + np.array([-4.0, -4.0, 4.0, 4.0])
    labels[3, 1] -= 70  # holds the first cell too
    pairs = label_placement.lone_pairs(cells, labels)
    assert [number for _, number in pairs] == [1, 2]
    lone, theirs = cells[:3], cells[:3] + np.array([-4.0, -4.0, 4.0, 4.0])
    values, margins = label_placement.foretell(lone, theirs)
    np.testing.assert_allclose(values, 1, atol=0.02)
    np.testing.assert_allclose(margins, 4 / (lone[0, 2] - lone[0, 0]), rtol=0.1)
    values, _ = label_placement.foretell(lone, theirs + 12 * np.eye(3, 4))
    assert values.max() < 0.9


def test_comparisons_are_simulated_with_equal_and_unequal_skill() -> None:
    plan = comparison_calibration.plan(comparison_calibration.parse(["--only", "unequal"]))
    ((name, images, (first, second)),) = plan
    assert (name, images) == ("unequal", 500)
    assert second > first
    pair = {"images": 8, "objects": 3.0, "skills": (first, second), "resamples": 5}
    assert comparison_calibration.draw_pair(3, **pair) == comparison_calibration.draw_pair(
        3, **pair
    )


@pytest.fixture(scope="module")
def smears(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Twenty images of drawn cells."""
    from foveal.data.synthetic import draw_dataset

    return draw_dataset(tmp_path_factory.mktemp("smears"), splits={"all": 20}, size=96)["all"]


def test_a_tenth_of_the_labels_is_damaged(smears: Any) -> None:
    damaged = audit.damage(smears, fraction=0.1, seed=0)
    before, after = (sum(map(len, data)) for data in (smears, damaged.data))
    kinds = [each.kind for each in damaged.damages]
    assert len(kinds) == round(0.1 * before)
    assert set(kinds) == set(audit.KINDS)
    assert after - before == kinds.count("invented") - kinds.count("removed")
    for each in damaged.damages:
        if each.index is None:
            continue
        record, origin = damaged.data.records[each.image], damaged.origins[each.image][each.index]
        old = smears.records[each.image]
        same_box = bool((record.boxes[each.index] == old.boxes[origin]).all())
        same_class = bool(record.labels[each.index] == old.labels[origin])
        if each.kind == "invented":
            assert origin == -1
        else:
            assert (same_box, same_class) == (each.kind != "shifted", each.kind == "shifted")
    again = audit.damage(smears, fraction=0.1, seed=0)
    assert [record.boxes.tolist() for record in again.data] == [
        record.boxes.tolist() for record in damaged.data
    ]


def test_damages_are_found_by_who_knows_the_truth(smears: Any, tmp_path: Path) -> None:
    """A detector that finds all objects names all damages; --model takes its file of detections."""
    truth = [
        Detections(
            record.boxes, np.full(len(record), 0.95, np.float32), record.labels,
            classes=smears.classes, width=record.width, height=record.height, path=record.path,
        )
        for record in smears
    ]  # fmt: skip
    write_coco(tmp_path / "detections.json", truth)
    options = audit.parse(["--work", str(tmp_path), "--model", "none"])
    (row,) = audit.rows_of(options, smears, 3)
    assert row["precision"] > 0.9
    assert row["kind right"] > 0.9
    assert row["removed named"] == "/".join([row["removed named"].split("/")[1]] * 2)
    assert audit.means([row, row])[0]["precision"] == row["precision"]


def test_an_audit_trains_what_is_asked(tmp_path: Path) -> None:
    words = ["--work", str(tmp_path), "--epochs", "3", "--set", "training.batch=4"]
    recipe = audit.recipe_of(audit.parse(words))
    assert recipe.preset == "light"
    assert (recipe.settings.training.epochs, recipe.settings.training.batch) == (3, 4)
    assert not recipe.settings.training.export

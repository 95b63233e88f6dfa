"""The Python API: a detector from data, trained, used, measured, saved and loaded."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.listener import Listener

import foveal
from foveal.config import Settings, change_settings, make_settings
from foveal.data.dataset import Dataset
from foveal.data.synthetic import draw_dataset
from foveal.errors import (
    DataError,
    FovealError,
    ImageError,
    SettingsError,
    TrainingError,
    WeightsError,
)
from foveal.evaluation.evaluate import choose_threshold
from foveal.inference.opening import Opened
from foveal.inference.predictor import Predictor
from foveal.training import checked_data

pytestmark = pytest.mark.usefixtures("empty_charts")

TINY = (
    "model.backbone=test_resnet",
    "model.weights=none",
    "model.norm=live",
    "model.fpn_channels=32",
    "model.head_channels=32",
    "model.head_depth=1",
    "preparation.shorter=64",
    "preparation.longer=64",
    "training.batch=4",
    "training.epochs=1",
    "training.workers=0",
    "training.warmup_steps=0",
    "training.precision=float32",
    "training.export=false",
)


def tiny(*more: str) -> Settings:
    return make_settings(preset="retinanet", overrides=[*TINY, *more])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    folder = tmp_path_factory.mktemp("drawn") / "smears"
    return draw_dataset(folder, splits={"train": 8, "valid": 4}, size=64, seed=1)


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory) -> tuple[foveal.Detector, Path]:
    out = tmp_path_factory.mktemp("runs") / "run"
    detector = foveal.Detector(drawn["train"], settings=tiny())
    return detector.fit(valid=drawn["valid"], out=out), out


def test_fitting_leaves_a_complete_run_folder(run):
    detector, out = run
    for name in ("best.safetensors", "last.safetensors", "config.toml", "metrics.jsonl"):
        assert (out / name).is_file(), name
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "Anchors" in report
    assert "Training" in report
    assert 0 <= detector.score_threshold <= 1
    assert len(detector.history) == 1


def test_all_images_can_be_trained_on(drawn, tmp_path):
    """Nothing is held out then: the last epoch stays, and there is nothing to report."""
    settings = tiny("training.validation_fraction=0", "training.epochs=2")
    detector, listener = foveal.Detector(drawn["train"], settings=settings), Listener()
    detector.fit(out=tmp_path / "run", reporter=listener)
    assert any("all 8 are trained on, nothing is measured" in line for line in listener.said)
    assert not any("validation" in line for line in listener.said)
    card = foveal.load(tmp_path / "run").card
    assert (card.epoch, card.metrics, card.threshold_is_chosen) == (2, {}, False)
    assert not (tmp_path / "run" / "report.html").exists()
    with pytest.raises(SettingsError, match="which round is best"):
        detector.self_train(drawn["valid"], out=tmp_path / "rounds")


def test_a_saved_detector_finds_the_same(run, drawn, tmp_path):
    detector, out = run
    path = drawn["valid"].records[0].path
    expected = detector.detect(path, score_threshold=0.0)
    detector.save(tmp_path / "own.safetensors")
    for file in (tmp_path / "own.safetensors", out / "best.safetensors"):
        loaded = foveal.load(file)
        assert loaded.score_threshold == detector.score_threshold
        assert loaded.classes == detector.classes
        found = loaded.detect(path, score_threshold=0.0)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.scores, expected.scores)
    assert len(expected) > 0


def test_a_loaded_detector_has_all_that_a_new_one_has(run, drawn):
    """Both are made by the same constructor; what the file says stays as it is."""

    class Own(foveal.Detector):
        def __init__(self, *arguments, **options):
            self.shelf = "3b"
            super().__init__(*arguments, **options)

    detector, out = run
    made = Own(drawn["train"], settings=tiny())
    loaded = Own.load(out / "best.safetensors")
    assert vars(loaded).keys() == vars(made).keys()
    assert loaded.shelf == "3b"
    assert (loaded.anchors, loaded.history) == (None, ())
    for section in ("model", "anchors", "preparation", "decoding"):
        assert getattr(loaded.settings, section) == getattr(detector.settings, section)
    assert (loaded.classes, loaded.card.epoch) == (detector.classes, 1)
    assert f"; AP {loaded.card.metrics['AP']:.3f}, AP50 " in repr(loaded)


def test_the_score_threshold_is_the_least_score_of_a_detection(run, drawn):
    """A detection of exactly that score is one, and the documentation says so in one wording."""
    detector, _ = run
    path = drawn["valid"].records[0].path
    found = detector.detect(path, score_threshold=0.0)
    score = float(found.scores[len(found) // 2])
    again = detector.detect(path, score_threshold=score)
    assert float(again.scores.min()) == score
    assert len(again) == (found.scores >= score).sum()
    described = (
        foveal.Detector.detect,
        foveal.Detector.predictor,
        foveal.Detections.filter,
        foveal.ModelCard,
        Opened.predictor,
        Predictor,
    )
    for each in described:
        assert "score_threshold: the least score of a detection" in each.__doc__, each


def test_a_limit_that_is_reached_is_logged_once_for_all_images(drawn, caplog):
    detector = foveal.Detector(drawn["train"], settings=tiny("decoding.max_detections=2"))
    paths = drawn["valid"].paths[:2]
    assert not any(found.capped for found in detector.detect_many(paths, score_threshold=1.0))
    assert "lets through" not in caplog.text
    assert all(found.capped for found in detector.detect_many(paths, score_threshold=0.0))
    assert caplog.text.count("In 2 of 2 images more was found than the limit of 2") == 1
    for _ in range(12):  # as frames of a video, one by one
        assert detector.detect(paths[0], score_threshold=0.0).capped
    assert caplog.text.count("than the limit") == 2
    assert "In 10 of 12 images so far more was found" in caplog.text


def test_evaluation_writes_numbers_and_report(run, drawn, tmp_path):
    _, out = run
    loaded = foveal.load(out / "best.safetensors")
    evaluation = loaded.evaluate(drawn["valid"], out=tmp_path / "eval")
    assert evaluation.images == 4
    assert (tmp_path / "eval" / "metrics.json").is_file()
    # The journal beside the model file gives the report its training curves.
    assert "Learning rate" in (tmp_path / "eval" / "report.html").read_text(encoding="utf-8")
    with pytest.raises(
        FovealError, match=r"eval: holds results of an earlier run .*overwrite=True"
    ):
        loaded.evaluate(drawn["valid"], out=tmp_path / "eval")


def test_shapes_that_are_given_are_not_fitted(drawn):
    fitted = foveal.Detector(drawn["train"], settings=tiny())
    assert fitted.anchors is not None
    given = foveal.Detector(drawn["train"], settings=tiny(), ratios=[1.0], scales=[1.0, 2.0])
    assert given.anchors is None
    assert repr(given) == (
        "<Detector test_resnet, 3 classes (normal, infected, platelet); detections count from the "
        "score 0.30 on>"
    )
    assert given.settings.anchors.ratios == (1.0,)
    assert given.model.grid.per_location == 2


def test_weights_that_cant_be_had_are_told_before_images_are_looked_at(drawn, monkeypatch):
    monkeypatch.setattr(checked_data, "check_run", lambda *_, **__: pytest.fail("looked at images"))
    detector = foveal.Detector(drawn["train"], settings=tiny("model.weights=absent.safetensors"))
    with pytest.raises(WeightsError, match="no such file"):
        detector.fit()


def test_weights_and_size_reach_the_settings(drawn):
    detector = foveal.Detector(
        drawn["train"], backbone="resnet18", weights="none", size=96, preset="standard"
    )
    assert detector.settings.model.backbone == "resnet18"
    assert detector.settings.preparation.shorter == 96
    assert detector.settings.preparation.longer == 160


def test_without_validation_data_a_share_is_held_out(drawn):
    listener = Listener()
    foveal.Detector(drawn["train"], settings=tiny()).fit(reporter=listener)
    assert any("1 of 8 images held out" in text for text in listener.said)
    assert not any("among the training images" in text for text in listener.said)


@pytest.fixture
def damaged(drawn, tmp_path) -> dict[str, Dataset]:
    """The drawn images as PNGs: one of each part is broken in the middle, one is cut short."""

    def copy(data: Dataset, *, broken: int, cut: int | None) -> Dataset:
        records = []
        for number, record in enumerate(data):
            path = (tmp_path / record.path.name).with_suffix(".png")
            cv2.imwrite(str(path), cv2.imread(str(record.path)))
            content = bytearray(path.read_bytes())
            if number == broken:
                start = content.index(b"IDAT") + 20
                content[start : start + 8] = b"\xff" * 8
            path.write_bytes(content[:-30] if number == cut else content)
            records.append(replace(record, path=path))
        return Dataset(tuple(records), data.classes, tmp_path, data.name)

    return {
        "train": copy(drawn["train"], broken=1, cut=5),
        "valid": copy(drawn["valid"], broken=2, cut=None),
    }


def test_broken_images_stop_before_the_first_step_and_are_all_named(damaged, tmp_path):
    detector = foveal.Detector(damaged["train"], settings=tiny())
    with pytest.raises(ImageError, match=r"1 of 8 images can't be read.*bad_images=skip"):
        detector.fit(valid=damaged["valid"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ImageError, match="1 of 8 images"):
        detector.find_learning_rate()


def test_an_image_broken_in_the_middle_stops_with_the_way_out(damaged):
    detector = foveal.Detector(damaged["train"].take(range(4)), settings=tiny())
    with pytest.raises(ImageError, match=r"1\.png.*--set training\.bad_images=skip"):
        detector.fit()


def test_nothing_trips_over_what_training_skips(damaged, tmp_path, caplog, monkeypatch):
    def fails(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(foveal.Detector, "_report", fails)
    settings = tiny("training.bad_images=skip")
    detector = foveal.Detector(damaged["train"], settings=settings)
    detector.fit(valid=damaged["valid"], out=tmp_path / "run", progress=False)
    assert (tmp_path / "run/best.safetensors").is_file()
    assert detector.card.threshold_is_chosen
    told = caplog.text
    assert "1 of 8 images can't be read" in told
    assert "1 of 4 images can't be read" in told
    assert "finished and its model is kept, but writing the report failed" in told
    assert "the disk is full" in told


def test_an_evaluation_names_broken_images_or_leaves_them_out(run, damaged, caplog):
    detector, _ = run
    with pytest.raises(ImageError, match=r"--bad-images skip \(in Python bad_images='skip'\)"):
        detector.evaluate(damaged["train"])
    assert detector.evaluate(damaged["valid"], bad_images="skip").images == 3
    assert "1 of 4 images can't be read" in caplog.text


def test_images_of_another_size_are_neither_trained_on_nor_measured(run, drawn):
    detector, _ = run
    doubled = [
        replace(record, width=128, height=128, boxes=record.boxes * 2) for record in drawn["valid"]
    ]
    data = replace(drawn["valid"], records=tuple(doubled))
    with pytest.raises(DataError, match="4 of 4 images have another size"):
        detector.evaluate(data)
    with pytest.raises(DataError, match="images have another size"):
        foveal.Detector(data, settings=tiny()).fit()
    same = detector.evaluate(data.fit_sizes("scale"))
    assert same.coco.ap == detector.evaluate(drawn["valid"]).coco.ap


def test_fit_shows_its_progress_unless_told_not_to(drawn, capsys, caplog):
    detector = foveal.Detector(drawn["train"], settings=tiny())
    detector.fit(valid=drawn["valid"])
    assert "epoch 1, loss" in capsys.readouterr().err
    with caplog.at_level("INFO", logger="foveal"):
        detector.fit(valid=drawn["valid"], progress=False)
    assert capsys.readouterr() == ("", "")
    assert sum("epoch 1, loss" in record.getMessage() for record in caplog.records) == 1


def test_the_best_epochs_validation_is_not_done_again(drawn, tmp_path, monkeypatch):
    calls = []
    real = Predictor.detect_many

    def detect_many(self, images, told=None):
        calls.append(len(images))
        return real(self, images)

    monkeypatch.setattr(Predictor, "detect_many", detect_many)
    settings = tiny("training.epochs=2", "training.learning_rate=0.01")
    detector = foveal.Detector(drawn["train"], settings=settings)
    detector.fit(valid=drawn["valid"], out=tmp_path / "run")
    assert calls == [4, 4]
    # The threshold is the one that the kept model's own detections give.
    targets = [drawn["valid"].target(index) for index in range(4)]
    monkeypatch.undo()
    again = foveal.load(tmp_path / "run" / "best.safetensors")
    found = again.detect_many((r.path for r in drawn["valid"]), score_threshold=0.05)
    assert again.score_threshold == choose_threshold(found, targets, detector.classes)
    # A run that is only read again has nothing at hand.
    monkeypatch.setattr(Predictor, "detect_many", detect_many)
    other = foveal.Detector(drawn["train"], settings=settings)
    other.fit(valid=drawn["valid"], out=tmp_path / "run", resume=True)
    assert calls == [4, 4, 4]
    assert other.score_threshold == detector.score_threshold


def test_the_reports_training_data_is_without_what_is_held_out(drawn, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "foveal.reports.evaluation.write_evaluation_report",
        lambda path, evaluation, **options: seen.update(options),
    )
    detector = foveal.Detector(drawn["train"], settings=tiny())
    detector.fit(out=tmp_path / "run")
    assert (len(seen["training"]), len(seen["dataset"])) == (7, 1)


def test_ignored_classes_stay_ignored_in_later_data(drawn, tmp_path):
    name = drawn["train"].classes[-1]
    detector = foveal.Detector(drawn["train"], settings=tiny(), ignore=[name])
    assert name not in detector.classes
    detector.fit(valid=drawn["valid"])
    detector.save(tmp_path / "model.safetensors")
    loaded = foveal.load(tmp_path / "model.safetensors")
    evaluation = loaded.evaluate(drawn["valid"])
    assert name not in evaluation.classes


def test_data_with_other_classes_is_named(run, drawn):
    detector, _ = run
    other = drawn["valid"].rename({drawn["valid"].classes[0]: "alien"})
    with pytest.raises(DataError, match="alien"):
        detector.evaluate(other)


def test_a_loaded_model_has_no_training_data(run):
    _, out = run
    loaded = foveal.load(out / "best.safetensors")
    with pytest.raises(TrainingError, match="start="):
        loaded.fit()
    with pytest.raises(TrainingError, match="start="):
        loaded.lr_find()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_start_finds_what_the_file_finds(run, drawn, order):
    trained, out = run
    classes = tuple(drawn["train"].classes[place] for place in order)
    data = drawn["train"].aligned(classes)
    started = foveal.Detector(data, start=out)
    assert started.settings.anchors == trained.settings.anchors
    assert started.settings.preparation == trained.settings.preparation
    assert started.classes == classes
    path = drawn["valid"].records[0].path
    one, other = (
        each.predictor(score_threshold=0.0, precision="float32").detect(path)
        for each in (foveal.load(out), started)
    )
    names = [
        [detector.classes[label] for label in found.labels]
        for detector, found in ((trained, one), (started, other))
    ]
    assert len(one)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
    assert names[0] == names[1]


def test_training_starts_from_another_model(run, drawn):
    trained, out = run
    listener = Listener()
    detector = foveal.Detector(
        drawn["train"],
        settings=make_settings(
            overrides=[
                "training.learning_rate=1e-9",
                "training.epochs=1",
                "training.batch=4",
                "training.workers=0",
                "training.export=false",
                "training.precision=float32",
                "anchors.scales=[1.0, 1.3, 1.6]",
            ]
        ),
    )
    with pytest.raises(foveal.FovealError):
        detector.fit(valid=drawn["valid"], start=out / "missing.safetensors")
    detector.fit(valid=drawn["valid"], start=out, reporter=listener)
    assert detector.settings.model == trained.settings.model
    assert detector.settings.anchors.sizes == trained.settings.anchors.sizes
    assert detector.settings.anchors.scales == (1.0, 1.3, 1.6)
    assert listener.said[0].startswith("No validation") is False
    assert any(f"Begun from {out / 'best.safetensors'}" in line for line in listener.said)


def test_anchors_are_fitted_anew_where_that_is_asked_for(run, drawn):
    _, out = run
    detector = foveal.Detector(drawn["train"], start=out, refit_anchors=True)
    assert detector.anchors is not None
    with pytest.raises(SettingsError, match=r"anchors\.scales is set, and --refit-anchors"):
        foveal.Detector(drawn["train"], start=out, scales=[1.0], refit_anchors=True)
    with pytest.raises(SettingsError, match="--start MODEL"):
        foveal.Detector(drawn["train"], settings=tiny(), refit_anchors=True)


def test_limits_of_decoding_follow_denser_data(run, drawn):
    trained, out = run
    record = drawn["train"].records[0]
    dense = replace(
        record,
        boxes=np.tile(record.boxes[:1], (90, 1)),
        labels=np.tile(record.labels[:1], 90),
        ignored=np.zeros(90, np.bool_),
        areas=None,
        flags={},
    )
    data = replace(drawn["train"], records=(dense,))
    assert trained.settings.decoding.max_detections == 100
    assert foveal.Detector(data, start=out).settings.decoding.max_detections == 180


def test_a_loaded_model_is_trained_on_data(run, drawn):
    _, out = run
    detector = foveal.load(out / "best.safetensors")
    listener = Listener()
    detector.settings = change_settings(
        detector.settings,
        {"training": {"batch": 4, "workers": 0, "export": False, "precision": "float32"}},
    )
    data = drawn["train"].rename({drawn["train"].classes[0]: "alien"})
    assert detector.fit(data, epochs=1, reporter=listener) is detector
    assert "alien" in detector.classes
    assert len(detector.history) == 1
    assert any("alien new, from the prior" in line for line in listener.said)


def test_learning_rate_finder_changes_nothing(drawn, short_sweep):
    detector = foveal.Detector(drawn["train"], settings=tiny())
    before = {key: value.clone() for key, value in detector.model.state_dict().items()}
    curve = detector.lr_find()
    assert 1e-7 < curve.suggestion < 10
    for key, value in detector.model.state_dict().items():
        assert (value == before[key]).all(), key


def test_data_without_classes_is_refused(tmp_path):
    with pytest.raises(DataError, match="no classes"):
        foveal.Detector(Dataset((), (), tmp_path))


def test_self_training_learns_from_images_without_labels(drawn, tmp_path, monkeypatch):
    """Two trainings; such a network is never sure of anything, so that is said in its place."""
    from foveal.training import pseudo_labels

    def sure(_detections, _targets, classes):
        return tuple(pseudo_labels.SureScore(name, 0.0, 10, 9) for name in classes)

    monkeypatch.setattr(pseudo_labels, "sure_scores", sure)
    reports = []  # drawing them takes longer than all else
    monkeypatch.setattr(
        foveal.Detector, "_report", lambda _, folder, *__, **___: reports.append(folder.name)
    )
    unlabeled, out, listener = tmp_path / "unlabeled", tmp_path / "run", Listener()
    unlabeled.mkdir()
    shutil.copy(drawn["valid"].paths[0], unlabeled / "same.jpg")
    for number, path in enumerate(drawn["train"].paths[:2]):
        assert cv2.imwrite(str(unlabeled / f"other_{number}.png"), cv2.imread(str(path))[:, ::-1])
    detector = foveal.Detector(drawn["train"], settings=tiny("training.validation_loss=false"))
    twin = detector._for_round(drawn["valid"], detector.settings, is_first=False)
    assert twin.model is not detector.model
    for name, value in detector.model.state_dict().items():
        assert torch.equal(value, twin.model.state_dict()[name])
    detector.self_train(unlabeled, valid=drawn["valid"], out=out, reporter=listener)
    assert any("1 of 3 unlabeled images is among the labeled ones" in s for s in listener.said)
    labels = foveal.read(out / "pseudo-labels-1.json", images=unlabeled)
    assert [path.name for path in labels.paths] == ["other_0.png", "other_1.png"]
    assert all(len(record) for record in labels)
    log = json.loads((out / "self-training.json").read_text())
    assert [each["round"] for each in log["rounds"]] == [0, 1]
    kept, best = foveal.load(out), foveal.load(out / f"round-{log['kept']}")
    assert kept.card.epoch == detector.card.epoch == 1
    assert reports == ["round-0", "round-1"]
    path = drawn["valid"].paths[0]
    assert kept.detect(path) == best.detect(path) == detector.detect(path)
    assert not any("The teacher is" in line for line in listener.said), "it has no bins"


def test_a_later_round_imitates_the_one_that_labeled(drawn, tmp_path, monkeypatch):
    """What each training is given; no training takes place."""
    from foveal.training import self_training

    taught = []
    monkeypatch.setattr(
        foveal.Detector, "fit", lambda self, **options: taught.append(options.get("teacher"))
    )
    monkeypatch.setattr(foveal.Detector, "_export", lambda *_, **__: None)

    def rounds(folder, images, *, train, **_):
        state = self_training.SelfTraining()
        for number, lesson in enumerate([None, self_training.Lesson(images, 0)]):
            train(number, lesson)
            state.add(0.5 + number)
        return state

    monkeypatch.setattr(self_training, "self_train", rounds)
    bins = ("anchors.scales=[1]", "anchors.ratios=[1]", "model.box_coding=distances")
    bins += ("model.box_bins=9", "loss.box=giou")
    first, own = tmp_path / "run/round-0/best.safetensors", tmp_path / "own.safetensors"
    for overrides, named, expected in (
        ((), {}, None),
        (bins, {}, first),
        (bins, {"teacher": own}, own),
        (bins, {"teacher": None}, None),
    ):
        taught.clear()
        detector = foveal.Detector(drawn["train"], settings=tiny(*overrides))
        detector.self_train(
            drawn["valid"].take([1, 2]),
            valid=drawn["valid"].take([0]),
            out=tmp_path / "run",
            **named,
        )
        assert taught == [named.get("teacher"), expected]
        assert detector.settings.training.teacher is None

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from foveal.errors import DataError, FovealError
from foveal.evaluation.evaluate import NAMES, evaluate
from foveal.evaluation.metrics_file import read_profile, to_metrics, write_metrics
from foveal.evaluation.profile import make_profile
from foveal.structures import Target


def read_strictly(path):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_what_is_written_is_what_was_measured(draw, tmp_path):
    detections, targets, _ = draw(1)
    classes = ["größe [µm], [1,\n2]", "b", "c", "d"]
    result = evaluate(detections, targets, classes, resamples=20)
    path = tmp_path / "new" / "metrics.json"
    write_metrics(path, result)
    written = read_strictly(path)
    assert written == to_metrics(result)
    assert set(NAMES) < set(written)
    assert written["AP"] == result.ap
    assert written["AP_interval"] == [result.ap_interval.low, result.ap_interval.high]
    assert (written["images"], written["objects"]) == (result.images, result.objects)
    assert written["score_threshold"] == result.score_threshold
    assert list(written["per_class"]) == classes
    assert written["per_class"]["b"]["AP50"] == result.per_class[1].coco.ap50
    assert written["counts"]["true_in_each_image"] == result.counts.true.tolist()
    assert written["errors"]["missed"]["number"] == result.errors.missed.number
    # A class without objects has no AP.
    assert written["per_class"]["d"]["AP"] is None


def test_lists_of_numbers_stand_in_one_line(draw, tmp_path):
    result = evaluate(*draw(1), resamples=0)
    write_metrics(tmp_path / "metrics.json", result)
    lines = (tmp_path / "metrics.json").read_text(encoding="utf-8").splitlines()
    assert sum("true_in_each_image" in line and line.endswith("],") for line in lines) == 5


def test_undefined_is_null(tmp_path):
    write_metrics(tmp_path / "metrics.json", evaluate([], [], ["a"], resamples=3))
    written = read_strictly(tmp_path / "metrics.json")
    assert written["AP"] is None
    assert written["AP_interval"] == [None, None]
    assert written["images"] == 0


def test_recall_at_the_limit_has_its_own_name(draw):
    metrics = to_metrics(evaluate(*draw(1), resamples=0, max_detections=3))
    assert metrics["AR3"] == metrics["AR100"]
    assert metrics["max_detections"] == 3


def test_what_limits_left_out_is_written(draw):
    detections, *rest = draw(1)
    assert to_metrics(evaluate(detections, *rest, resamples=0))["capped_images"] == []
    detections = [replace(detections[0], left_out_score=0.9), *detections[1:]]
    metrics = to_metrics(
        evaluate(detections, *rest, resamples=0, score_threshold=0.5, max_detections=1)
    )
    assert metrics["capped_images"] == [{"index": 0, "image": "image 0"}]
    assert 0 < metrics["beyond_limit"] < metrics["detections"]
    assert 0 < metrics["beyond_limit_images"] <= metrics["images"]


def test_a_failed_write_leaves_what_was_there(draw, tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    path.write_text("before")
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(FovealError, match=r"metrics\.json: can't be written \(full\)"):
        write_metrics(path, evaluate(*draw(1), resamples=0))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FovealError, match="can't be written"):
        write_metrics(
            tmp_path / "file" / "metrics.json",
            evaluate([], [Target.empty()][:0], ["a"], resamples=0),
        )


def test_how_detections_look_is_read_again(draw, tmp_path):
    detections, targets, _ = draw(1)
    profile = make_profile(detections, classes=4, score_threshold=0.5)
    result = replace(evaluate(detections, targets, "abcd", resamples=0), profile=profile)
    path = tmp_path / "metrics.json"
    write_metrics(path, result)
    assert read_profile(path) == profile


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"profile": null}', '{"profile": {"images": 1}}']
)
def test_a_file_that_does_not_say_it_is_named(tmp_path, text):
    path = tmp_path / "metrics.json"
    with pytest.raises(DataError, match=r"metrics\.json: can't be read"):
        read_profile(path)
    path.write_text(text)
    with pytest.raises(DataError, match=r"metrics\.json: does not say how a model's"):
        read_profile(path)

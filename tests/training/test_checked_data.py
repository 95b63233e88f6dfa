"""The images of a run before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.data.dataset import Dataset
from foveal.data.synthetic import draw_dataset
from foveal.errors import ImageError
from foveal.training.checked_data import check_run, check_training
from foveal.training.conclusion import keeping_run
from foveal.training.reporters import LoggingReporter


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    folder = tmp_path_factory.mktemp("checked") / "smears"
    return draw_dataset(folder, splits={"train": 3, "valid": 2}, size=64, seed=1)


def test_sound_parts_go_through_without_a_word(drawn, caplog):
    training, validation = check_run(
        drawn["train"], drawn["valid"], bad_images="stop", reporter=LoggingReporter()
    )
    assert (training, validation) == (drawn["train"], drawn["valid"])
    assert not caplog.records


def test_images_in_both_parts_are_told(drawn, caplog):
    check_run(drawn["train"], drawn["train"], bad_images="stop", reporter=LoggingReporter())
    (told,) = [record.message for record in caplog.records]
    assert "3 of 3 validation images are among the training images too" in told
    assert str(drawn["train"].paths[0]) in told


def test_a_missing_image_stops_training(drawn, tmp_path):
    gone = drawn["train"].take([0])
    moved = Dataset(tuple(gone.records), gone.classes, tmp_path, "gone")
    record = moved.records[0]
    absent = Dataset(
        (type(record)(Path(tmp_path / "no.png"), 64, 64, *_nothing(record)),),
        gone.classes,
        tmp_path,
    )
    with pytest.raises(ImageError, match=r"no\.png: does not exist"):
        check_training(absent, bad_images="stop", reporter=LoggingReporter())


def _nothing(record):
    return record.boxes[:0], record.labels[:0], record.ignored[:0]


def test_a_step_after_the_last_epoch_never_fails_a_run(caplog):
    with keeping_run(LoggingReporter(), "writing the report"):
        raise RuntimeError("no fonts")
    assert "kept, but writing the report failed: RuntimeError: no fonts" in caplog.text
    with keeping_run(LoggingReporter(), "exporting"):
        raise ImageError("a.png: is empty")
    assert "exporting failed: a.png: is empty" in caplog.text
    with pytest.raises(KeyboardInterrupt), keeping_run(LoggingReporter(), "exporting"):
        raise KeyboardInterrupt

import numpy as np
import pytest

from foveal.errors import DataError
from foveal.structures import Detections

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

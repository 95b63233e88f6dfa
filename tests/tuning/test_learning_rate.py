import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import FovealError, TrainingError
from foveal.tuning.learning_rate import find_learning_rate, suggest


class Parabola:
    """Gradient descent on curvature * x^2 / 2: converges below 2 / curvature, diverges above."""

    def __init__(self, curvature):
        self.curvature = curvature
        self.x = 1.0
        self.seen = []

    def __call__(self, learning_rate):
        self.seen.append(learning_rate)
        loss = 0.1 + self.curvature * self.x**2 / 2
        self.x -= learning_rate * self.curvature * self.x
        return loss


def test_the_sweep_is_exponential():
    task = Parabola(1.0)
    find_learning_rate(task, lowest=1e-4, highest=1.0, steps=5)
    assert task.seen == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])


@settings(max_examples=20, deadline=None)
@given(curvature=st.floats(0.5, 200.0))
def test_the_suggestion_trains_and_follows_the_curvature(curvature):
    curve = find_learning_rate(Parabola(curvature), highest=100.0)
    assert curve.diverged
    assert 0.001 / curvature < curve.suggestion < 2 / curvature
    assert curve.suggestion <= 0.1 * curve.lowest * (1 + 1e-9) or "steepest" in curve.rule
    assert len(curve.losses) == len(curve.learning_rates) == len(curve.smoothed)


def test_smoothing_by_hand():
    losses = iter([1.0, 0.5, 0.25, 0.125])
    curve = find_learning_rate(lambda _: next(losses), steps=4, smoothing=0.5)
    assert curve.losses == (1.0, 0.5, 0.25, 0.125)
    assert curve.smoothed == pytest.approx(
        [1.0, (0.25 + 0.25) / 0.75, (0.125 + 0.125 + 0.125) / 0.875, 0.25 / 0.9375]
    )


def test_suggestion_by_hand():
    rates = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    assert suggest(rates, [4.0, 3.9, 2.0, 1.0, 9.0])[:2] == (pytest.approx(0.01), 1e-1)
    steepest, lowest, rule = suggest(rates, [4.0, 2.0, 1.0, 0.9, 5.0])
    assert (steepest, lowest) == (1e-4, 1e-1)
    assert "steepest" in rule


def test_a_loss_that_is_not_finite_ends_the_sweep():
    task = Parabola(1.0)

    def step(learning_rate):
        return math.nan if learning_rate > 0.5 else task(learning_rate)

    curve = find_learning_rate(step)
    assert curve.diverged
    assert np.isfinite(curve.smoothed).all()
    assert max(curve.learning_rates) <= 0.5


@pytest.mark.parametrize("loss", [lambda _: 1.0, lambda rate: 1.0 + rate, lambda _: math.nan])
def test_a_loss_that_never_falls_is_an_error(loss):
    with pytest.raises(TrainingError, match="No learning rate"):
        find_learning_rate(loss)


def test_the_curve_can_be_drawn(tmp_path):
    curve = find_learning_rate(Parabola(1.0))
    curve.save(tmp_path / "new" / "curve.svg")
    drawn = (tmp_path / "new" / "curve.svg").read_text()
    assert drawn.startswith("<svg")
    assert f"chosen: {curve.suggestion:.2g}" in drawn
    assert curve._repr_svg_() == curve.to_svg()
    (tmp_path / "file").write_text("")
    with pytest.raises(FovealError, match=r"curve\.svg: can't be written"):
        curve.save(tmp_path / "file" / "curve.svg")


def test_a_curve_says_what_it_suggests():
    curve = find_learning_rate(Parabola(1.0), highest=100.0)
    assert f"suggests {curve.suggestion:.2g} ({curve.rule})" in repr(curve)
    rows = curve.to_table()
    assert [row["learning_rate"] for row in rows] == list(curve.learning_rates)
    assert [row["smoothed"] for row in rows] == list(curve.smoothed)

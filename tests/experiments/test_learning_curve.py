"""What twice the images would bring: on curves that are known."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.experiments.learning_curve import TRAINING_SPREAD, make_learning_curve
from foveal.visualization import charts

IMAGES = (50, 100, 200)


def missing(images, *, power: float = 0.3):
    """What a power law leaves to AP 1: half of it at 50 images."""
    return 0.5 * (np.asarray(images, float) / 50) ** -power


def curve(aps, *, noise: float = 0.01, images=IMAGES, speaking: int = 60):
    shared = np.random.default_rng(0).normal(0, noise, 500)  # the same images for all points
    draws = np.asarray(aps)[:, None] + shared
    return make_learning_curve(images, aps, draws, speaking=speaking, seed=0)


def test_a_power_law_is_continued():
    made = curve(1 - missing(IMAGES))
    gain = float(missing(200) - missing(400))
    assert made.forecast.images == 400
    assert made.forecast.gain == pytest.approx(gain, abs=1e-6)
    assert made.forecast.interval.low < gain < made.forecast.interval.high
    assert made.forecast.spread == TRAINING_SPREAD
    assert made.forecast.line[-1, :2] == pytest.approx([400, 1 - missing(400)])
    assert made.intervals[0].low < made.aps[0] < made.intervals[0].high
    text = made.describe()
    assert text[0].startswith("Twice the images, 400 in place of 200, would bring about +0.062 AP")
    assert "from 50 to 200 images" in text[1]
    assert len(text) == 2


def test_points_beside_the_curve_widen_the_interval():
    straight = curve(1 - missing(IMAGES))
    bent = curve(1 - missing(IMAGES) + np.array([0.03, -0.06, 0.03]))
    assert bent.forecast.spread > 0.05
    widths = [each.forecast.interval.high - each.forecast.interval.low for each in (straight, bent)]
    assert widths[1] > 2 * widths[0]
    assert "can't be told from these trainings" in bent.describe()[0]


@pytest.mark.parametrize(
    ("aps", "words"),
    [
        ([0.6, 0.57, 0.595], "AP did not rise with the images"),
        ([0.985, 0.9855, 0.986], "would hardly help"),
        ([0.0, 0.3, 0.5], "can't be told: AP is undefined or 0"),
        ([np.nan, 0.3, 0.5], "can't be told: AP is undefined or 0"),
    ],
)
def test_what_does_not_rise_promises_nothing(aps, words):
    made = curve(aps, noise=0.001)
    assert words in made.describe()[0]
    assert "<svg" in charts.draw_learning_curve(
        made.images,
        made.aps,
        [(each.low, each.high) for each in made.intervals],
        line=None if made.forecast is None else made.forecast.line,
    )


def test_few_images_and_few_points_are_said():
    assert (
        "only 1 validation image shows objects" in curve([0.4, 0.5, 0.6], speaking=1).describe()[0]
    )
    nothing = make_learning_curve((1, 2), [np.nan] * 2, np.full((2, 9), np.nan), speaking=0, seed=0)
    assert "only 0 validation images show objects" in nothing.describe()[0]
    two = curve(1 - missing((50, 200)), images=(50, 200))
    assert "A third fraction would show" in two.describe()[-1]


def test_the_interval_covers_the_truth():
    """Trainings scatter by 0.01 AP: about 95 % of 60 intervals hold the gain."""
    generator, truth, held = np.random.default_rng(1), float(missing(200) - missing(400)), 0
    for _ in range(60):
        aps = 1 - missing(IMAGES) + generator.normal(0, 0.01, 3) + generator.normal(0, 0.01)
        gain = curve(aps).forecast.interval
        held += gain.low <= truth <= gain.high
    assert held >= 53

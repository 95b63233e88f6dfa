import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.training.schedule import (
    frozen_stages_at,
    learning_rate_factor,
    peak_learning_rate,
    setting_for,
)


@pytest.mark.parametrize(
    ("learning_rate", "optimizer", "batch", "expected"),
    [
        (None, "sgd", 16, 0.01),
        (None, "sgd", 8, 0.005),
        (0.02, "sgd", 32, 0.04),
        (None, "adamw", 16, 1e-3),
        (None, "adamw", 4, 5e-4),
        (3e-4, "adamw", 64, 6e-4),
    ],
)
def test_peak_follows_the_batch(learning_rate, optimizer, batch, expected):
    assert peak_learning_rate(learning_rate, optimizer=optimizer, batch=batch) == pytest.approx(
        expected
    )


def test_warm_up_is_linear():
    factors = [
        learning_rate_factor(
            step, schedule="constant", steps=1000, warmup_steps=100, warmup_factor=0.5
        )
        for step in (0, 50, 100, 999)
    ]
    assert factors == pytest.approx([0.5, 0.75, 1.0, 1.0])


def test_a_short_run_still_reaches_the_peak():
    factors = [
        learning_rate_factor(step, schedule="cosine", steps=10, warmup_steps=100)
        for step in range(10)
    ]
    assert factors[0] == 0.0
    assert max(factors) == factors[2] == 1.0


def test_steps_divide_by_ten():
    factors = [
        learning_rate_factor(step, schedule="steps", steps=90, step_fractions=(0.667, 0.889))
        for step in (0, 60, 61, 80, 81, 89)
    ]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_cosine_by_hand():
    factor = learning_rate_factor(60, schedule="cosine", steps=110, warmup_steps=10)
    assert factor == pytest.approx(0.5)
    assert learning_rate_factor(35, schedule="cosine", steps=110, warmup_steps=10) == pytest.approx(
        0.5 * (1 + math.cos(math.pi / 4))
    )


def test_one_cycle_rises_and_falls():
    factors = [learning_rate_factor(step, schedule="one_cycle", steps=100) for step in range(100)]
    assert factors[0] == pytest.approx(0.04)
    assert factors[30] == 1.0
    assert factors[:31] == sorted(factors[:31])
    assert factors[30:] == sorted(factors[30:], reverse=True)
    assert factors[-1] < 0.001


@given(
    steps=st.integers(1, 500),
    step=st.integers(0, 600),
    warmup=st.integers(0, 700),
    schedule=st.sampled_from(["steps", "cosine", "one_cycle", "constant"]),
)
def test_factors_stay_between_zero_and_one(steps, step, warmup, schedule):
    factor = learning_rate_factor(
        step, schedule=schedule, steps=steps, warmup_steps=warmup, step_fractions=(0.5, 0.8)
    )
    assert 0 <= factor <= 1
    assert math.isfinite(factor)


@given(st.floats(1e-6, 10), st.sampled_from(["sgd", "adamw"]), st.integers(1, 512))
def test_setting_for_is_the_inverse(learning_rate, optimizer, batch):
    setting = setting_for(learning_rate, optimizer=optimizer, batch=batch)
    assert peak_learning_rate(setting, optimizer=optimizer, batch=batch) == pytest.approx(
        learning_rate
    )


@pytest.mark.parametrize(
    ("progress", "frozen"), [(0.0, 5), (0.09, 5), (0.1, 4), (0.2, 3), (0.3, 2), (1.0, 2)]
)
def test_stages_are_thawed_one_by_one(progress, frozen):
    shares = (0.1, 0.2, 0.3)
    assert frozen_stages_at(progress, shares=shares, stages=5, frozen=2) == frozen
    assert frozen_stages_at(progress, shares=(), stages=5, frozen=2) == 2

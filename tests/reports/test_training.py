"""The report's words about a run: how long, which epoch was best, what was lost, why it ended."""

from __future__ import annotations

import pytest
from tests.reports.results import history

from foveal.reports.training import training_section

END = {"kind": "end", "epoch": 6, "reason": "patience", "text": "The run ended after epoch 6 of 9."}


def story(rows: list[dict[str, object]]) -> str:
    section = training_section(rows)
    assert section is not None
    text = section.parts[0]
    assert isinstance(text, str)
    return text


@pytest.mark.usefixtures("empty_charts")
def test_the_end_and_what_was_lost_are_said() -> None:
    assert story(history()) == "6 epochs in 3 minutes; the weights of epoch 5 were best."
    rows = [row | ({"nonfinite_steps": 2} if row["kind"] == "epoch" else {}) for row in history()]
    assert story([*rows, END]) == (
        "6 epochs in 3 minutes; the weights of epoch 5 were best. The loss was not finite in "
        "12 steps, which were left out. The run ended after epoch 6 of 9."
    )


@pytest.mark.usefixtures("empty_charts")
def test_no_epoch_is_called_best_where_none_was() -> None:
    rows = [row | {"best": False} for row in history()]
    assert story([*rows, END]) == "6 epochs in 3 minutes. The run ended after epoch 6 of 9."


@pytest.mark.usefixtures("empty_charts")
def test_epochs_without_a_finite_loss_leave_gaps() -> None:
    lost = {"classification": None, "box": None, "loss": None}
    rows = [row | (lost if row["kind"] == "epoch" else {}) for row in history()]
    assert story(rows).startswith("6 epochs")

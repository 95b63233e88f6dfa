"""Why a run ended, in words for its log, its report and whoever started it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foveal.errors import FovealError
from foveal.evaluation.story import NOTHING
from foveal.text import counted, shorten

Reason = Literal["last_epoch", "patience", "diverged", "interrupted", "failed"]

_LONGEST_CAUSE = 600
"""Letters of an error in the log."""

HOW_TO_LEARN = (
    "What may help: see whether the boxes are where they belong (foveal data check), train "
    "longer (--minutes N, or --set training.epochs=N), or search a learning rate "
    "(--find-learning-rate)."
)
"""What to do where no epoch found anything."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run came to its end.

    Attributes:
        reason: in one word, as metrics.jsonl has it; '' for a run that goes on.
        text: in a sentence or two.
    """

    reason: Reason | Literal[""] = ""
    text: str = ""


NO_ENDING = Ending()
"""Of a run that goes on."""


def describe_last_epoch(*, epoch: int, was_finished: bool) -> str:
    """That a run came to its last epoch.

    Args:
        epoch: the last one, from 1.
        was_finished: whether nothing was left to train when it was resumed.
    """
    if was_finished:
        return f"The run was finished already, with its last epoch, {epoch}: nothing is trained."
    return f"The run ended with its last epoch, {epoch}."


def describe_patience(*, epoch: int, epochs: int, patience: int) -> str:
    """That a run ended before its last epoch since it got no better.

    Args:
        epoch: the last one that was trained, from 1.
        epochs: as many as were asked for.
        patience: evaluations without a better AP.
    """
    return (
        f"The run ended after epoch {epoch} of {epochs}: {counted(patience, 'evaluation')} in a "
        f"row brought no better AP (training.patience = {patience})."
    )


def describe_best(*, best: float | None, epoch: int, reasons: Sequence[str] = ()) -> str:
    """What is left of a run where no AP was above 0; '' where one was, or none was measured.

    Args:
        best: the highest AP; below 0 where AP was undefined each time, None where none was
            measured.
        epoch: the one whose weights are kept.
        reasons: why nothing was learned, the likeliest first.
    """
    if best is None or best >= NOTHING:
        return ""
    if best < 0:
        return (
            "AP is undefined, since the validation images have no objects: which epoch is best is "
            f"not known, and the weights of epoch {epoch} are kept. Give validation images with "
            "objects: --valid DATA (in Python fit(valid=...))."
        )
    numbered = " ".join(f"({number}) {reason}" for number, reason in enumerate(reasons, 1))
    likeliest = f" The likeliest reasons, by what was measured: {numbered}" if numbered else ""
    return (
        f"Nothing was learned: no epoch found objects (AP 0.000), and the weights of epoch {epoch} "
        f"are kept, which are no better than others.{likeliest} {HOW_TO_LEARN}"
    )


def describe_failure(error: Exception, *, epoch: int, step: int) -> str:
    """What broke a run off.

    Args:
        error: that was raised.
        epoch: the one under way, from 1.
        step: of the epoch, the last one that was done.
    """
    cause = str(error) if isinstance(error, FovealError) else f"{type(error).__name__}: {error}"
    where = f"in epoch {epoch} after step {step}" if step else f"after epoch {epoch - 1}"
    return f"The run broke off {where}. {shorten(cause, _LONGEST_CAUSE)}"


def describe_divergence(
    cause: str,
    *,
    best: float | None,
    epoch: int,
    file: Path | None,
    learning_rate: float,
    usual_rate: float,
) -> str:
    """That a run was lost, what is left of it and what to do.

    Args:
        cause: what was not finite, as a sentence.
        best: the highest AP before; None or not above 0 where nothing good was measured.
        epoch: that had it, from 1.
        file: of its weights; None for a run without a folder.
        learning_rate: `training.learning_rate` as it was in effect.
        usual_rate: the default of the optimizer.
    """
    if best is not None and best > 0:
        where = f"{file} has" if file else "the model has"
        left = (
            f"The best before that, epoch {epoch} with AP {best:.3f}, stays: {where} its weights."
        )
    else:
        left = "There is no model worth keeping, and none is called the best."
    lower = min(learning_rate / 10, usual_rate)
    return (
        f"The training has diverged. {cause} {left} Train again with a lower learning rate, "
        f"--set training.learning_rate={lower:.2g} (it was {learning_rate:.2g}), or search "
        "one by --find-learning-rate. If single images cause it, foveal data check names "
        "wrong boxes; --set training.precision=float32 has more room for large numbers."
    )

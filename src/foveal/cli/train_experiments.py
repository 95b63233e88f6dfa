"""`foveal train --folds` and `--fractions`: several trainings, and what they say together."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from foveal.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset
    from foveal.experiments.folder import Kind
    from foveal.experiments.recipe import Recipe
    from foveal.training.reporters import Reporter

_HELD_OUT = "training.validation_fraction"


def check_experiment(
    *, folds: int | None, fractions: str | None, changes: Sequence[str], others: Mapping[str, bool]
) -> Kind | None:
    """See whether the options fit together.

    Args:
        folds, fractions: as they were given.
        changes: what --set says.
        others: whether options were given that go with neither, by their names.

    Returns:
        Which experiment is wanted; None for a plain training.

    Raises:
        SettingsError: they contradict one another.
    """
    if folds is None and fractions is None:
        return None
    if folds is not None and fractions is not None:
        raise SettingsError(
            f"--folds {folds} and --fractions {fractions}: give one of them, and then the other "
            "with another --out."
        )
    if fractions is not None:
        _parse_fractions(fractions)
    kind: Kind = "folds" if folds is not None else "fractions"
    for name, given in others.items():
        if given:
            why = (
                " The folds themselves are measured on, so that there are no validation images."
                if name == "--valid"
                else ""
            )
            raise SettingsError(f"--{kind} and {name} don't go together: leave one out.{why}")
    for change in changes:
        if kind == "folds" and change.partition("=")[0].strip() == _HELD_OUT:
            raise SettingsError(
                f"--folds and --set {change}: the folds themselves are measured on, so that "
                "nothing else is held out. Leave one out."
            )
    return kind


def run_experiment(
    data: Dataset,
    recipe: Recipe,
    *,
    folds: int | None,
    fractions: str | None,
    valid: Dataset | None,
    out: Path,
    reporter: Reporter,
    **options: Any,
) -> None:
    """Train what is wanted, and say what came of it.

    Args:
        data: the images.
        recipe: how detectors are made.
        folds: how many; None for fractions.
        fractions: with commas between them; None for folds.
        valid: the validation images of fractions; None holds some out.
        out: the folder of all runs.
        reporter: is told how it goes.
        options: what both take: resume, overwrite, source.
    """
    from foveal.experiments.cross_validation import describe_folds
    from foveal.experiments.folds import train_folds
    from foveal.experiments.fractions import describe_fractions, train_fractions

    given: dict[str, Any] = {"out": out, "recipe": recipe, "reporter": reporter, **options}
    if folds is not None:
        crossed = train_folds(data, folds=folds, **given)
        lines, of = describe_folds(crossed), "of all images"
        threshold = crossed.detector.score_threshold
    else:
        numbers = _parse_fractions(fractions or "")
        made = train_fractions(data, fractions=numbers, valid=valid, **given)
        lines, of = describe_fractions(made), f"of {made.fractions[-1].run}"
        threshold = made.detector.score_threshold
    for line in lines:
        reporter.say(line)
    reporter.say(
        f"The model {of}: {out / 'best.safetensors'} (threshold {threshold:.2f}).\n"
        f"Next: foveal predict {shlex.quote(str(out))} IMAGES --out DIR"
    )


def _parse_fractions(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(
            f"--fractions {text}: expected numbers with commas between them, such as 0.25,0.5,1."
        ) from None

"""`foveal train --folds` and `--fractions`: several trainings, and what they say together."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from foveal.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset
    from foveal.data.opening import Source
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
    out: Path,
    resume: bool,
    overwrite: bool,
    reporter: Reporter,
    source: Source,
) -> None:
    """Train what is wanted, and say what came of it.

    Args:
        data: the images.
        recipe: how detectors are made.
        folds: how many.
        out: the folder of all runs.
        resume, overwrite, reporter: as for `Detector.fit`.
        source: where the images were opened from.
    """
    from foveal.experiments.cross_validation import describe_folds
    from foveal.experiments.folds import train_folds

    if folds is not None:
        result = train_folds(
            data,
            out=out,
            folds=folds,
            recipe=recipe,
            resume=resume,
            overwrite=overwrite,
            reporter=reporter,
            source=source,
        )
        for line in describe_folds(result):
            reporter.say(line)
        reporter.say(
            f"The model of all images: {out / 'best.safetensors'} (threshold "
            f"{result.detector.score_threshold:.2f}).\n"
            f"Next: foveal predict {shlex.quote(str(out))} IMAGES --out DIR"
        )

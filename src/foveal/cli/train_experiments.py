"""`foveal train --folds` and `--fractions`: several trainings, and what they say together."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.cli.answers import SCHEMA, Answer
from foveal.cli.console import make_console
from foveal.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from foveal.data.dataset import Dataset
    from foveal.experiments.folder import Kind
    from foveal.experiments.recipe import Recipe
    from foveal.training.reporters import Reporter


@dataclass(frozen=True, slots=True)
class ExperimentDone:
    """Several trainings, and what they say together.

    Attributes:
        folder: of all of them.
        model: that came of them.
        score_threshold: its least score of a detection.
        folds: what folds.json holds; null of fractions.
        fractions: what fractions.json holds; null of folds.
    """

    folder: Path
    model: Path
    score_threshold: float
    folds: dict[str, Any] | None = field(metadata={SCHEMA: "folds"})
    fractions: dict[str, Any] | None = field(metadata={SCHEMA: "fractions"})


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


def check_experiment_folder(out: Path, kind: Kind | None, *, resume: bool, overwrite: bool) -> None:
    """See whether a run or an experiment may begin or go on in a folder; nothing is changed.

    Raises:
        TrainingError: it may not; the message says what to pass.
    """
    from foveal.experiments.folder import ExperimentFolder
    from foveal.training.run_folder import RunFolder

    folder = RunFolder(out) if kind is None else ExperimentFolder(out, kind)
    folder.check(resume=resume, overwrite=overwrite)


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
) -> Answer:
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
    from foveal.experiments.folder import ExperimentFolder
    from foveal.experiments.folds import train_folds
    from foveal.experiments.fractions import describe_fractions, train_fractions

    kind: Kind = "folds" if folds is not None else "fractions"
    given: dict[str, Any] = {"out": out, "recipe": recipe, "reporter": reporter, **options}
    if folds is not None:
        crossed = train_folds(data, folds=folds, **given)
        lines, of = describe_folds(crossed), "of all images"
        then = f", foveal audit {shlex.quote(str(out))} --out DIR"
        threshold = crossed.detector.score_threshold
    else:
        numbers = _parse_fractions(fractions or "")
        made = train_fractions(data, fractions=numbers, valid=valid, **given)
        lines, of, then = describe_fractions(made), f"of {made.fractions[-1].run}", ""
        threshold = made.detector.score_threshold
    lines.append(
        f"The model {of}: {out / 'best.safetensors'} (threshold {threshold:.2f}).\n"
        f"Next: foveal predict {shlex.quote(str(out))} IMAGES --out DIR{then}"
    )
    log = json.loads(ExperimentFolder(out, kind).log.read_text(encoding="utf-8"))
    done = ExperimentDone(
        out,
        out / "best.safetensors",
        threshold,
        folds=log if kind == "folds" else None,
        fractions=log if kind == "fractions" else None,
    )
    return Answer(done, tell=lambda: make_console().print("\n".join(lines), soft_wrap=True))


def _parse_fractions(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(
            f"--fractions {text}: expected numbers with commas between them, such as 0.25,0.5,1."
        ) from None

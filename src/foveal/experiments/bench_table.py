"""What a bench has shown: means over seeds, paired differences, and all of it as files."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from foveal.evaluation.bootstrap import FEWEST_IMAGES
from foveal.evaluation.comparison_story import signed, signed_interval
from foveal.evaluation.repeats import Estimate, estimate, mean_of_estimates
from foveal.experiments.bench import NUMBERS, ROWS, TABLE
from foveal.files import write_file
from foveal.text import between, counted, decimal, listed, without_nan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from foveal.evaluation.results import Interval
    from foveal.experiments.bench import Bench
    from foveal.experiments.bench_training import TrainingResult

SCHEMA_VERSION = 1
"""Rises where a field goes or means something else; new fields leave it."""
_MOST_NAMED = 4
_ALL = "all data sets"


@dataclass(frozen=True, slots=True)
class Summary:
    """A recipe on a data set: the mean over its seeds.

    Attributes:
        recipe, data: their names.
        ap, ap50: the means.
        minutes: mean of the trainings.
        epochs: from the fewest to the most.
        seeds: that are finished.
        measured: images that AP was measured on.
    """

    recipe: str
    data: str
    ap: Estimate
    ap50: Estimate
    minutes: float
    epochs: tuple[int, int]
    seeds: tuple[int, ...]
    measured: int


@dataclass(frozen=True, slots=True)
class RecipeDifference:
    """A recipe's number less the first recipe's, seed by seed on the same images.

    Attributes:
        recipe, baseline: their names.
        data: the data set's name; '' for the mean over all of them.
        ap, ap50: of the differences.
        seeds: that both have finished.
    """

    recipe: str
    baseline: str
    data: str
    ap: Estimate
    ap50: Estimate
    seeds: tuple[int, ...]


def summarize(bench: Bench) -> tuple[Summary, ...]:
    """The mean over the seeds of each recipe on each data set, where any is finished."""
    summaries = []
    for data in bench.plan.sets:
        for recipe in bench.plan.recipes:
            results = bench.of(recipe.name, data.name)
            if not results:
                continue
            done = list(results.values())
            shown = done[0].images["shown"]
            epochs = [each.epochs for each in done]
            summaries.append(
                Summary(
                    recipe.name,
                    data.name,
                    estimate(
                        [one.ap for one in done], [one.ap_draws for one in done], images=shown
                    ),
                    estimate(
                        [one.ap50 for one in done], [one.ap50_draws for one in done], images=shown
                    ),
                    math.fsum(each.minutes for each in done) / len(done),
                    (min(epochs), max(epochs)),
                    tuple(results),
                    done[0].images["measured"],
                )
            )
    return tuple(summaries)


def differences(bench: Bench) -> tuple[RecipeDifference, ...]:
    """Each recipe beside the first, on each data set and on the mean of all; where both have seeds.

    The mean is there where every data set has seeds of both.
    """
    baseline, *others = bench.plan.recipes
    found: list[RecipeDifference] = []
    for recipe in others:
        of_sets = []
        for data in bench.plan.sets:
            ours = bench.of(recipe.name, data.name)
            theirs = bench.of(baseline.name, data.name)
            seeds = tuple(seed for seed in ours if seed in theirs)
            if seeds:
                pairs = [(ours[seed], theirs[seed]) for seed in seeds]
                of_sets.append(
                    RecipeDifference(
                        recipe.name,
                        baseline.name,
                        data.name,
                        estimate(
                            [one.ap - other.ap for one, other in pairs],
                            [one.ap_draws - other.ap_draws for one, other in pairs],
                            images=pairs[0][0].images["shown"],
                        ),
                        estimate(
                            [one.ap50 - other.ap50 for one, other in pairs],
                            [one.ap50_draws - other.ap50_draws for one, other in pairs],
                            images=pairs[0][0].images["shown"],
                        ),
                        seeds,
                    )
                )
        found += of_sets
        if len(bench.plan.sets) > 1 and len(of_sets) == len(bench.plan.sets):
            found.append(
                RecipeDifference(
                    recipe.name,
                    baseline.name,
                    "",
                    mean_of_estimates([each.ap for each in of_sets]),
                    mean_of_estimates([each.ap50 for each in of_sets]),
                    tuple(sorted(set.intersection(*(set(each.seeds) for each in of_sets)))),
                )
            )
    return tuple(found)


def verdict(difference: RecipeDifference) -> str:
    """Whether one of both recipes is better by AP, in a few words."""
    low, high = difference.ap.interval.low, difference.ap.interval.high
    if low != low:
        return "too few images with objects"
    if low > 0:
        return f"{difference.recipe} is better"
    if high < 0:
        return f"{difference.baseline} is better"
    return "no difference can be shown"


def cautions(bench: Bench) -> list[str]:
    """What the numbers must not be taken for, and what is missing; a sentence or two each."""
    said = []
    if bench.results and len(bench.seeds) == 1:
        said.append(
            "With one seed the intervals say nothing of chance in training, only of the images: "
            "--seeds 3 tells more."
        )
    elif bench.results:
        said.append(
            f"The intervals are for the mean over {counted(len(bench.seeds), 'seed')}: of the "
            "images that it was measured on and of the seeds it was trained with. The spread is "
            "from the lowest seed to the highest."
        )
    chosen = [data.name for data in bench.plan.sets if not data.has_test]
    if chosen:
        said.append(
            f"{listed(chosen, _MOST_NAMED)}: measured on the validation images, on which the best "
            'epoch was chosen too, so AP is a little too high. Name others: test = "ADDRESS".'
        )
    few = sorted({each.data for each in bench.results if each.images["shown"] < FEWEST_IMAGES})
    if few:
        said.append(
            f"{listed(few, _MOST_NAMED)}: fewer than {FEWEST_IMAGES} of the measured images show "
            "objects; no interval can be given."
        )
    empty = {
        each.data: each.images["measured"] - each.images["shown"]
        for each in bench.results
        if each.images["measured"] > each.images["shown"]
    }
    if empty:
        names = [f"{name} ({number:,})" for name, number in sorted(empty.items())]
        said.append(
            f"Measured images without annotated objects: {listed(names, _MOST_NAMED)}. Whatever "
            "is found there counts as false; images that nobody has labeled must be left out."
        )
    compared = len(differences(bench))
    if compared > 1:
        said.append(
            f"Of {compared} differences about one in twenty leaves 0 out of its interval by chance "
            "alone."
        )
    cut = [each for each in bench.results if each.parts > 1]
    if cut:
        said.append(
            f"{counted(len(cut), 'training')} went on after having been cut, the first: "
            f"{_name(cut[0])}. Minutes are then of what was kept."
        )
    if len(machines(bench)) > 1:
        said.append(
            "The trainings ran on several machines or versions: their minutes are not alike."
        )
    tried = [each for each in bench.missing if each.failed]
    if tried:
        said.append(
            f"{counted(len(tried), 'training')} failed, the first: {_name(tried[0])}: "
            f"{tried[0].why} The same command tries again."
        )
    rest = len(bench.missing) - len(tried)
    if rest:
        said.append(f"{counted(rest, 'training')} of {_all(bench)} not finished yet.")
    return said


def machines(bench: Bench) -> list[str]:
    """On which machines the trainings ended, in a line each."""
    return list(dict.fromkeys(each.machine.text for each in bench.results))


def to_markdown(bench: Bench) -> str:
    """The tables and what goes with them, as Markdown; columns are as wide as they need."""
    parts = []
    summaries = summarize(bench)
    if summaries:
        head: tuple[str, ...] = (
            *("recipe", "data set", "AP", "95% interval", "spread", "AP50", "95% interval"),
            *("minutes", "epochs", "seeds", "images"),
        )
        parts.append(_table(head, map(_summary_cells, summaries)))
    pairs = differences(bench)
    if pairs:
        head = ("recipe", "less", "data set", "AP", "95% interval", "AP50", "95% interval", "")
        parts.append(_table(head, map(_difference_cells, pairs)))
    lines = [*cautions(bench), *machines(bench)]
    if lines:
        parts.append("\n".join(f"- {' '.join(line.split())}" for line in lines))
    return "\n\n".join(parts) + "\n"


def to_document(bench: Bench) -> dict[str, Any]:
    """A bench as plain JSON values; what is undefined is None."""
    values = {
        "schema": "foveal-bench",
        "schema_version": SCHEMA_VERSION,
        "seeds": list(bench.seeds),
        "recipes": [
            {"name": each.name, "preset": each.preset, "settings": each.values}
            for each in bench.plan.recipes
        ],
        "sets": [
            {"name": each.name, **each.said, "settings": each.values} for each in bench.plan.sets
        ],
        "overrides": bench.plan.overrides,
        "summaries": [
            {
                "recipe": each.recipe,
                "set": each.data,
                "seeds": list(each.seeds),
                "AP": _estimate(each.ap),
                "AP50": _estimate(each.ap50),
                "minutes": each.minutes,
                "epochs": list(each.epochs),
                "images": each.measured,
            }
            for each in summarize(bench)
        ],
        "differences": [
            {
                "recipe": each.recipe,
                "less": each.baseline,
                "set": each.data or None,
                "seeds": list(each.seeds),
                "AP": _estimate(each.ap),
                "AP50": _estimate(each.ap50),
                "verdict": verdict(each),
            }
            for each in differences(bench)
        ],
        "trainings": [_row(each) for each in bench.results],
        "missing": [
            {
                "recipe": each.recipe,
                "set": each.data,
                "seed": each.seed,
                "failed": each.failed,
                "why": each.why,
            }
            for each in bench.missing
        ],
        "cautions": cautions(bench),
    }
    document = without_nan(values)
    assert isinstance(document, dict)
    return document


def write_bench(bench: Bench, out: Path) -> None:
    """Write the tables as Markdown, every training as a row of a CSV, and all of it as JSON.

    Args:
        bench: what there is.
        out: the bench's folder.

    Raises:
        FovealError: a file can't be written.
    """
    text = json.dumps(to_document(bench), ensure_ascii=False, indent=2, allow_nan=False)
    write_file(out / NUMBERS, text + "\n")
    write_file(out / TABLE, to_markdown(bench))
    write_file(out / ROWS, _csv(bench.results))


def _csv(results: Iterable[TrainingResult]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for result in results:
        row = _row(result)
        cells = {
            **row,
            "AP_low": row["AP_interval"][0],
            "AP_high": row["AP_interval"][1],
            "AP50_low": row["AP50_interval"][0],
            "AP50_high": row["AP50_interval"][1],
            "machine": result.machine.text,
        }
        writer.writerow("" if _undefined(cells[name]) else cells[name] for name in _COLUMNS)
    return text.getvalue()


_COLUMNS = (
    *("recipe", "set", "seed", "AP", "AP_low", "AP_high", "AP50", "AP50_low", "AP50_high"),
    *("minutes", "parts", "epochs", "best_epoch", "training_images", "validation_images"),
    *("images", "objects", "machine"),
)


def _row(result: TrainingResult) -> dict[str, Any]:
    return {
        "recipe": result.recipe,
        "set": result.data,
        "seed": result.seed,
        "AP": result.ap,
        "AP_interval": list(result.ap_interval),
        "AP50": result.ap50,
        "AP50_interval": list(result.ap50_interval),
        "minutes": result.minutes,
        "parts": result.parts,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "training_images": result.images["training"],
        "validation_images": result.images["validation"],
        "images": result.images["measured"],
        "objects": result.objects,
        "machine": asdict(result.machine),
    }


def _undefined(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _estimate(one: Estimate) -> dict[str, Any]:
    return {
        "value": one.value,
        "interval": [one.interval.low, one.interval.high],
        "lowest": one.lowest,
        "highest": one.highest,
        "trainings": one.trainings,
    }


def _summary_cells(one: Summary) -> tuple[str, ...]:
    fewest, most = one.epochs
    return (
        one.recipe,
        one.data,
        decimal(one.ap.value),
        _between(one.ap.interval),
        decimal(one.ap.lowest) if one.ap.trainings == 1 else between(one.ap.lowest, one.ap.highest),
        decimal(one.ap50.value),
        _between(one.ap50.interval),
        f"{one.minutes:.1f}",
        str(most) if fewest == most else f"{fewest} to {most}",
        str(len(one.seeds)),
        f"{one.measured:,}",
    )


def _difference_cells(one: RecipeDifference) -> tuple[str, ...]:
    return (
        one.recipe,
        one.baseline,
        one.data or _ALL,
        signed(one.ap.value),
        signed_interval(one.ap.interval),
        signed(one.ap50.value),
        signed_interval(one.ap50.interval),
        verdict(one),
    )


def _between(interval: Interval) -> str:
    return between(interval.low, interval.high)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    words = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join((words[0], rule, *words[1:]))


def _name(one: Any) -> str:
    return f"{one.recipe} on {one.data}, seed {one.seed}"


def _all(bench: Bench) -> str:
    count = len(bench.results) + len(bench.missing)
    return f"{count} {'is' if len(bench.missing) == 1 else 'are'}"

"""`foveal bench`: the same recipes on several data sets and seeds, as one table."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.answers import SCHEMA, Answer, DryRun, Plan, verb
from foveal.cli.console import make_console, say
from foveal.cli.outcomes import Outcome
from foveal.text import counted

if TYPE_CHECKING:
    from foveal.experiments.bench import Bench


@dataclass(frozen=True, slots=True)
class Benched:
    """What a bench has trained.

    Attributes:
        folder: for the trainings and the tables.
        bench: what bench.json holds.
    """

    folder: Path
    bench: dict[str, Any] = field(metadata={SCHEMA: "bench"})


@verb(
    "bench",
    Benched,
    examples=(
        "foveal bench sets.toml --seeds 3 --out benched",
        "foveal bench sets.toml --preset light --preset standard --out benched --dry-run",
    ),
)
def bench(
    context: typer.Context,
    sets: Annotated[
        Path,
        typer.Argument(
            metavar="SETS.toml",
            help="The data sets, each a table sets.NAME with data, valid, test, options of reading "
            "and settings; and recipes, each a table recipes.NAME with preset, config and "
            "settings. docs/how-to/bench.md describes it.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="The folder for the trainings and the tables.", show_default=False
        ),
    ],
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="How often each is trained: seeds 0 to N - 1.")
    ] = 3,
    presets: Annotated[
        list[str] | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="A recipe, where the file has none; several times.",
            show_default=False,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.NAME=VALUE",
            help="A single setting of all trainings, above all others; several times.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Train the same recipes on several data sets and seeds, and compare them.

    Run again, it goes on: what is finished is not trained again, what was cut goes on from its own
    state, and more seeds, recipes or data sets are added. bench.md, bench.csv and bench.json in
    --out hold what there is after each training. One that fails stops no other.
    """
    from foveal.errors import TrainingInterrupted
    from foveal.experiments.bench import (
        NUMBERS,
        ROWS,
        TABLE,
        TRAININGS,
        check_bench_folder,
        look_at_results,
        look_for_weights,
        open_sets,
        run_bench,
    )
    from foveal.experiments.bench_sets import read_plan
    from foveal.experiments.bench_table import to_document, to_markdown, write_bench
    from foveal.training.progress import watching

    plan = read_plan(sets, presets=presets or (), overrides=overrides or ())
    check_bench_folder(out)
    numbers = range(seeds)
    opened = open_sets(plan, say=lambda text: say(text, stderr=True))
    made = look_at_results(plan, opened, seeds=numbers, out=out)
    look_for_weights(made, fetch=not dry_run)
    files = [out / TABLE, out / ROWS, out / NUMBERS]
    if dry_run:
        sources = [str(address) for data in plan.sets for address, _ in data.sources]
        trainings = [
            f"train {each.recipe} on {each.data}, seed {each.seed}" for each in made.missing
        ]
        return Plan(
            [sets, *sources], [out / TRAININGS, *files], steps=[_describe(made), *trainings]
        )
    say(_describe(made), stderr=True)
    arguments = sys.argv[1:] if context.obj is None else context.obj
    try:
        with watching(make_console(stderr=True)) as reporter:
            made = run_bench(
                plan,
                opened,
                seeds=numbers,
                out=out,
                reporter=reporter,
                keep=lambda so_far: write_bench(so_far, out),
            )
    except TrainingInterrupted as interruption:
        raise TrainingInterrupted(
            f"{interruption}\nThe same command goes on: foveal {shlex.join(arguments)}"
        ) from None

    def tell() -> None:
        say(to_markdown(made).rstrip())
        say(f"Written: {', '.join(map(str, files))}", stderr=True)

    outcome = Outcome.PARTLY_DONE if made.missing else Outcome.DONE
    return Answer(Benched(out, to_document(made)), tell, outcome)


def _describe(bench: Bench) -> str:
    """What is to be trained, in a sentence or two."""
    plan = bench.plan
    said = (
        f"{counted(len(plan.recipes), 'recipe')} on {counted(len(plan.sets), 'data set')} with "
        f"{counted(len(bench.seeds), 'seed')}: {counted(len(bench.missing), 'training')} to do"
    )
    done = len(bench.results)
    return f"{said}, {done:,} done." if done else f"{said}."

"""The same recipes on several data sets and seeds: trained one after another, each once.

Every training has a folder of its own in the bench's, with the run and, once it is measured, its
result. So whatever ends a bench, the same call goes on: what has a result is not trained again, and
a run that was cut goes on from its own state. Several processes may work on one folder: each takes
what no other is training.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foveal.data.checks.readiness import Readiness
from foveal.data.opening import open_together
from foveal.errors import DataError, FovealError, SettingsError, TrainingInterrupted
from foveal.experiments.bench_sets import BenchPlan, BenchSet
from foveal.experiments.bench_training import (
    BenchData,
    Train,
    Training,
    TrainingResult,
    keep_result,
    kept_result,
    make_digest,
    train_and_measure,
)
from foveal.files import writing
from foveal.text import listed

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.training.reporters import Reporter

TRAININGS = "trainings"
NUMBERS, TABLE, ROWS = "bench.json", "bench.md", "bench.csv"
"""What a bench writes into its folder, besides the trainings."""
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Missing:
    """A training without a result, and why.

    Attributes:
        recipe, data: their names.
        seed: of the training.
        why: what went wrong, or that it has not been trained.
        failed: whether it was tried and went wrong.
    """

    recipe: str
    data: str
    seed: int
    why: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Bench:
    """What a bench has trained so far.

    Attributes:
        plan: what is to be trained.
        seeds: of the trainings of each recipe on each data set.
        results: of those that are finished, in the plan's order.
        missing: the others.
    """

    plan: BenchPlan
    seeds: tuple[int, ...]
    results: tuple[TrainingResult, ...]
    missing: tuple[Missing, ...]

    def of(self, recipe: str, data: str) -> dict[int, TrainingResult]:
        """The results of a recipe on a data set, by seed."""
        return {
            each.seed: each for each in self.results if (each.recipe, each.data) == (recipe, data)
        }


def open_sets(plan: BenchPlan, *, say: Callable[[str], None]) -> dict[str, BenchData]:
    """Open all data sets and look at all their image files, before anything is trained.

    Args:
        plan: what is to be trained.
        say: gets sentences on what goes on.

    Returns:
        The images of each data set, by its name.

    Raises:
        DataError: a data set can't be read, has no images or no classes, or images to be measured
            have classes that are not trained.
        ImageError: images can't be read.
    """
    opened: dict[str, BenchData] = {}
    for data in plan.sets:
        try:
            opened[data.name] = _open(data, plan, say)
        except DataError as error:
            raise type(error)(f"data set {data.name}: {error}") from None
    return opened


def plan_trainings(plan: BenchPlan, seeds: Sequence[int], out: Path) -> list[Training]:
    """All trainings, the first seed of everything first: so there is soon something of everything.

    Args:
        plan: what is to be trained.
        seeds: of the trainings of each recipe on each data set.
        out: the bench's folder.
    """
    return [
        Training(
            recipe,
            data,
            seed,
            plan.changes(recipe, data, seed=seed),
            out / TRAININGS / data.name / recipe.name / f"seed-{seed}",
        )
        for seed in seeds
        for data in plan.sets
        for recipe in plan.recipes
    ]


def check_bench_folder(out: Path) -> None:
    """See whether a bench may begin or go on in a folder; nothing is changed.

    Raises:
        FovealError: it is a file, or holds something that is not a bench's.
    """
    if out.exists() and not out.is_dir():
        raise FovealError(f"{out}: is a file. Expected a folder: choose another --out.")
    present = sorted(each.name for each in out.iterdir()) if out.is_dir() else []
    strange = [name for name in present if name not in (TRAININGS, NUMBERS, TABLE, ROWS)]
    if strange and TRAININGS not in present:
        raise FovealError(
            f"{out}: holds something that is not from a bench ({listed(strange, 4)}). Choose a new "
            "or empty folder: --out DIR."
        )


def look_at_results(
    plan: BenchPlan, opened: dict[str, BenchData], *, seeds: Sequence[int], out: Path
) -> Bench:
    """What is finished, and what is not; nothing is trained.

    Args:
        plan: what is to be trained.
        opened: the images of each data set, by its name.
        seeds: of the trainings of each recipe on each data set.
        out: the bench's folder.

    Raises:
        SettingsError: a training was done with something else than is asked for.
        FovealError: a result can't be read.
    """
    kept = [
        (training, kept_result(training, opened[training.data.name]))
        for training in plan_trainings(plan, seeds, out)
    ]
    return Bench(
        plan,
        tuple(seeds),
        tuple(result for _, result in kept if result is not None),
        tuple(_missing(training) for training, result in kept if result is None),
    )


def look_for_weights(bench: Bench, *, fetch: bool) -> None:
    """See that the weights are there with which networks begin, before hours of training.

    Args:
        bench: what is finished needs none.
        fetch: get published weights that are not in the cache; else see only whether they could be
            had.

    Raises:
        SettingsError: no package has them.
        WeightsError: they are not there, and can't be fetched.
        MissingExtraError: the package with the weights is not installed.
    """
    from foveal.models.backbones import find_weights

    missing = {(each.recipe, each.data) for each in bench.missing}
    needed = {
        (model.backbone, model.weights): f"recipe {recipe.name}"
        for recipe in bench.plan.recipes
        for data in bench.plan.sets
        if (recipe.name, data.name) in missing
        for model in [bench.plan.settings(recipe, data).model]
    }
    for (backbone, weights), who in needed.items():
        try:
            find_weights(backbone, weights, fetch=fetch)
        except FovealError as error:
            raise type(error)(f"{who}: {error}") from None


def run_bench(
    plan: BenchPlan,
    opened: dict[str, BenchData],
    *,
    seeds: Sequence[int],
    out: Path,
    reporter: Reporter,
    keep: Callable[[Bench], None],
    train: Train | None = None,
) -> Bench:
    """Train what has no result yet. One that fails is told and left for another time.

    Args:
        plan: what is to be trained.
        opened: the images of each data set, by its name.
        seeds: of the trainings of each recipe on each data set.
        out: the bench's folder.
        reporter: is told how it goes.
        keep: gets what there is after each training.
        train: trains and measures one; None takes `train_and_measure`.

    Raises:
        TrainingInterrupted: a signal stopped a training; its state was written.
        SettingsError: a training was done with something else than is asked for.
        FovealError: the folder can't be written.
    """
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise SettingsError(
            "A bench runs in one process, and there are several. Start it without torchrun; "
            "several benches may share a folder, each taking what no other is training."
        )
    check_bench_folder(out)
    bench = look_at_results(plan, opened, seeds=seeds, out=out)
    trainings = plan_trainings(plan, seeds, out)
    failed: dict[str, Missing] = {}
    for number, training in enumerate(trainings, start=1):
        if training.result.exists():
            continue
        with _claimed(training.folder) as mine:
            if not mine:
                reporter.say(f"{training.name}: another process trains it.")
                failed[training.name] = replace(_missing(training), why="another process trains it")
                continue
            if training.result.exists():  # another process has just finished it
                continue
            reporter.say(f"Training {number} of {len(trainings)}: {training.name}.")
            data = opened[training.data.name]
            try:
                keep_result(training, data, (train or train_and_measure)(training, data, reporter))
            except TrainingInterrupted:
                raise
            except FovealError as error:
                failed[training.name] = replace(_missing(training), why=str(error), failed=True)
                reporter.warn(f"{training.name} failed, and the bench goes on: {error}")
        bench = _with(look_at_results(plan, opened, seeds=seeds, out=out), failed)
        keep(bench)
    bench = _with(look_at_results(plan, opened, seeds=seeds, out=out), failed)
    keep(bench)
    return bench


def _open(data: BenchSet, plan: BenchPlan, say: Callable[[str], None]) -> BenchData:
    training, *others = open_together(data.sources)
    if not len(training):
        raise DataError("there are no images to train on. Expected some.")
    if not training.classes:
        raise DataError("there are no classes, so nothing can be trained. Expected objects.")
    others = [each.aligned(training.classes) for each in others]
    if not len(others[-1]):
        raise DataError("there are no images to measure. Expected some.")
    skips = _skips_bad_images(data, plan)
    ready = Readiness("keep" if skips else "stop", say=say)
    for each in (training, *others[:-1]):
        ready.make_ready(each)
    # What is measured must be the same images for every recipe, and all of them.
    Readiness("stop", skip="", say=say).make_ready(others[-1])
    return BenchData(
        training,
        others[0] if data.has_valid else None,
        others[-1],
        make_digest((training, others[0] if data.has_valid else None, others[-1])),
    )


def _skips_bad_images(data: BenchSet, plan: BenchPlan) -> bool:
    """Whether every recipe leaves out images that can't be read, and says so when it trains."""
    return all(
        plan.changes(recipe, data, seed=0)["training"].get("bad_images") == "skip"
        for recipe in plan.recipes
    )


def _missing(training: Training) -> Missing:
    return Missing(
        training.recipe.name, training.data.name, training.seed, "not trained yet", failed=False
    )


def _with(bench: Bench, failed: dict[str, Missing]) -> Bench:
    """With what is known of those that are missing."""
    known = {(each.recipe, each.data, each.seed): each for each in failed.values()}
    return replace(
        bench,
        missing=tuple(
            known.get((each.recipe, each.data, each.seed), each) for each in bench.missing
        ),
    )


@contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether this process alone works in a folder; the claim ends with it, killed or not.

    Where the system knows no such claims (Windows, some shared disks), everyone has it.
    """
    with writing(folder, advice="Choose another folder: --out DIR."):
        folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield True
        return
    import fcntl

    with (folder / _LOCK).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks: everyone has it
            pass
        yield True

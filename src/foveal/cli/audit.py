"""`foveal audit`: which labels a model that has not seen them disputes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from foveal.cli.answers import Answer, DryRun, Plan, verb
from foveal.cli.console import make_console, say
from foveal.cli.data_options import ADDRESS, takes_data
from foveal.cli.measuring_options import (
    BadImages,
    BatchOption,
    DeviceOption,
    Overwrite,
    PrecisionOption,
    ResultBoxes,
)
from foveal.cli.model_argument import find_model
from foveal.cli.outcomes import Outcome
from foveal.cli.predict import Precision
from foveal.cli.progress import progress_bar
from foveal.outputs.suggestion_row import SuggestionRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from foveal.data.dataset import Dataset
    from foveal.data.opening import DataOptions
    from foveal.structures import Detections

FOLDS = "folds.json"
"""What makes a folder one of a training in folds."""
_SAW_THEM = (
    "A model that saw these labels in its training disputes fewer of them: detections out of folds "
    "tell more (foveal train DATA --folds 5, then foveal audit RUN)."
)


@dataclass(frozen=True, slots=True)
class Audited:
    """Labels that detections dispute.

    Attributes:
        images, labels: how many were audited; regions to ignore are not counted.
        by_kind: how many suggestions there are of each kind.
        left_out: how many are left out, for they are less suspicious.
        suggestions: the most suspicious first; images are named relative to the folder of the page.
        written: the page, the labels as they would be, and the table.
    """

    images: int
    labels: int
    by_kind: dict[str, int]
    left_out: int
    suggestions: tuple[SuggestionRow, ...]
    written: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """The labels, and who disputes them.

    Attributes:
        dataset: the labels.
        detect: gives the detections, one for each image.
        name: of who detected, for people.
        caution: a sentence on what the detections can't tell.
        skipped: images that can't be read.
    """

    dataset: Dataset
    detect: Callable[[], Sequence[Detections]]
    name: str
    caution: str = ""
    skipped: int = 0


@verb(
    "audit",
    Audited,
    examples=(
        "foveal audit runs/folds",
        "foveal audit results.json data:test --out audited",
        "foveal audit best.safetensors data:test --out audited --max-suggestions 50",
    ),
)
@takes_data
def audit(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="The folder of foveal train --folds; or, with DATA, detections by anybody who did "
            "not learn from it: COCO results or foveal predict's detections.json, or a model.",
        ),
    ],
    options: DataOptions,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help=f"The labels: {ADDRESS}. A folds run knows its own.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The folder for the page and both lists; of a folds run by default RUN/audit.",
            show_default=False,
        ),
    ] = None,
    min_score: Annotated[
        float,
        typer.Option(min=0, max=1, help="From which score on suggestions are written."),
    ] = 0.3,
    max_suggestions: Annotated[
        int | None,
        typer.Option(
            min=1, help="Write at most so many, the most suspicious ones.", show_default=False
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=0, help="How many suggestions are drawn on the page.")
    ] = 100,
    batch: BatchOption = 8,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    result_boxes: ResultBoxes = None,
    bad_images: BadImages = "stop",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Find labels that may be wrong: missing, nothing there, other class, loose box, double.

    It writes a page with crops, the labels as they would be (suggestions.json, COCO) and a table
    (suggestions.csv). Nothing is changed in the data.
    """
    from foveal.errors import FovealError
    from foveal.evaluation.label_audit import audit_labels
    from foveal.outputs.label_suggestions import (
        rows_of_audit,
        write_suggestion_table,
        write_suggestions,
    )
    from foveal.reports.label_audit import (
        KEPT,
        PAGE,
        SUGGESTIONS,
        TABLE,
        check_audit_folder,
        summary_of,
        weakness_of,
        write_audit_report,
    )

    source = source if source.exists() or source.suffix == ".json" else find_model(source)
    if not source.exists():
        raise FovealError(
            f"{source} does not exist. Expected the folder of foveal train --folds, detections "
            "(.json) or a model."
        )
    in_folds = (source / FOLDS).is_file()
    if not in_folds and data is None:
        raise FovealError(
            f"{source}: is no folder of foveal train --folds (there is no {FOLDS} in it), so the "
            f"labels must be named: foveal audit {source} DATA."
        )
    if not in_folds and out is None:
        raise FovealError("Where are the results to be written? Pass a folder: --out FOLDER.")
    folder = source / "audit" if out is None else out
    results = check_audit_folder(folder, overwrite=overwrite)
    if in_folds:
        audited = _of_folds(source, data, options, result_boxes)
    elif source.suffix.lower() == ".json":
        assert data is not None
        audited = _of_results(source, data, options, result_boxes)
    else:
        assert data is not None
        audited = _of_model(
            source,
            data,
            options,
            batch=batch,
            device=device,
            precision=precision,
            bad_images=bad_images,
        )
    dataset = audited.dataset
    written = page, suggestions, table = folder / PAGE, folder / SUGGESTIONS, folder / TABLE
    if dry_run:
        step = f"audit {dataset.summary()} by {audited.name}"
        return Plan([source, *([data] if data else [])], written, steps=[step])
    every = audit_labels(audited.detect(), dataset.targets, classes=len(dataset.classes))
    chosen = every.above(min_score)
    less = _left_out(len(every) - len(chosen), f"below --min-score {min_score:g}")
    if max_suggestions is not None and max_suggestions < len(chosen):
        further = len(chosen) - max_suggestions
        less += _left_out(further, f"beyond --max-suggestions {max_suggestions}")
        chosen = chosen.best(max_suggestions)
    left_out = len(every) - len(chosen)
    caution = " ".join(text for text in (weakness_of(every), audited.caution) if text)
    results.record()
    write_suggestions(suggestions, chosen, dataset, left_out=left_out)
    write_suggestion_table(table, chosen, dataset)
    write_audit_report(
        page,
        chosen,
        dataset,
        source=audited.name,
        caution=caution,
        left_out=" ".join(less),
        pictures=pictures,
    )

    def tell() -> None:
        console = make_console()
        for line in (summary_of(chosen), *less, caution, KEPT):
            if line:
                console.print(line)
        say(f"Written: {', '.join(map(str, written))}")

    return Answer(
        Audited(
            images=len(dataset),
            labels=chosen.labels,
            by_kind={str(kind): number for kind, number in chosen.counts().items()},
            left_out=left_out,
            suggestions=rows_of_audit(chosen, dataset, folder),
            written=written,
        ),
        tell,
        Outcome.PARTLY_DONE if audited.skipped else Outcome.DONE,
    )


def _left_out(number: int, why: str) -> list[str]:
    from foveal.text import counted

    return [f"{counted(number, 'weaker suspicion')} {why} left out."] if number else []


def _of_folds(run: Path, address: str | None, options: DataOptions, boxes: str | None) -> _Source:
    """What the folds' models detected in the images that each did not learn from."""
    from foveal.data.opening import AS_FOUND, open_data
    from foveal.errors import DataError
    from foveal.experiments.folder import ExperimentFolder, open_source

    folder = ExperimentFolder(run, "folds")
    log = folder.read()
    if not folder.detections.is_file():
        raise DataError(
            f"{run}: its folds are not done yet, so that there are no detections "
            f"({folder.detections.name}). Go on with it: foveal train DATA --folds K --resume."
        )
    if address is not None:
        data = open_data(address, options)
    elif options != AS_FOUND:
        raise DataError(
            f"{run}: knows how its labels are read. Leave out the options that say it, or name the "
            f"labels: foveal audit {run} DATA."
        )
    else:
        data = open_source(log["data"])
    name = f"the folds of {run.resolve().name}: models that did not learn from what they dispute"
    return _of_detections(folder.detections, data, {}, options, boxes=boxes, name=name)


def _of_results(path: Path, address: str, options: DataOptions, boxes: str | None) -> _Source:
    """What anybody's detector wrote."""
    from foveal.data.formats.coco_results import category_labels
    from foveal.data.opening import open_data

    data = open_data(address, options)
    labels = category_labels(address, data.classes, options)
    return _of_detections(
        path, data, labels, options, boxes=boxes, name=path.name, caution=_SAW_THEM
    )


def _of_detections(
    path: Path,
    data: Dataset,
    labels: Mapping[Any, int],
    options: DataOptions,
    *,
    boxes: str | None,
    name: str,
    caution: str = "",
) -> _Source:
    """What a file of detections says of the images that it names."""
    from foveal.data.checks.readiness import Readiness
    from foveal.data.formats.coco_results import listed_images, read_results
    from foveal.errors import DataError
    from foveal.text import counted

    dataset = Readiness("keep").make_ready(data)
    detections = read_results(path, dataset, labels=labels, options=options, boxes=boxes)
    listed = listed_images(path, dataset, options)
    cautions = [caution] if caution else []
    if listed is None:
        bare = [record for record, one in zip(dataset, detections, strict=True) if not len(one)]
        if bare and len(bare) < len(detections):
            cautions.append(
                f"{counted(len(bare), 'image')} without any detection, {bare[0].path.name} first: "
                "were they looked at? All their labels are disputed."
            )
    elif not listed and len(dataset):
        raise DataError(
            f"{path}: names none of the {counted(len(dataset), 'image')} of the labels "
            f"({dataset.records[0].path.name} first). Expected detections in the same images: pass "
            "the DATA that they belong to."
        )
    elif len(listed) < len(dataset):
        first = next(n for n in range(len(dataset)) if n not in set(listed))
        cautions.append(
            f"{counted(len(dataset) - len(listed), 'image')} not among those of {path.name}, "
            f"{dataset.records[first].path.name} first: left out."
        )
        dataset = dataset.take(listed)
        detections = [detections[number] for number in listed]
    return _Source(dataset, lambda: detections, name, " ".join(cautions))


def _of_model(
    path: Path,
    address: str,
    options: DataOptions,
    *,
    batch: int,
    device: str,
    precision: Precision,
    bad_images: Literal["stop", "skip"],
) -> _Source:
    """What a model detects now."""
    from foveal.data.checks.readiness import SKIP_IN_EVALUATION, Readiness
    from foveal.data.opening import open_data
    from foveal.inference.contestants import expect_known, fitted, in_classes_of, look
    from foveal.inference.opening import open_model
    from foveal.text import listed

    model = open_model(path, device=device, precision=precision)
    card = model.description.card
    dataset = open_data(address, options)
    ignored = [name for name in card.ignored_classes if name in dataset.classes]
    if ignored:
        say(f"Regions to ignore, as in the model's training: {listed(ignored, 6)}.", stderr=True)
        dataset = dataset.ignoring(ignored)
    ready = Readiness(bad_images, skip=SKIP_IN_EVALUATION, decode=True).make_ready(dataset)
    expect_known(ready, card.classes, name=path.name)

    def detect() -> Sequence[Detections]:
        predictor = fitted(replace(model.measuring_predictor(), batch=batch), ready)
        with progress_bar(len(ready)) as bar:
            detections = look(predictor, ready, progress=bar.update)
        return in_classes_of(detections, ready.classes, name=path.name)

    return _Source(ready, detect, path.name, _SAW_THEM, len(dataset) - len(ready))

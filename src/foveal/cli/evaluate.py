"""`foveal evaluate`: how good a model, or another detector's results, are on labeled images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from foveal.cli.answers import SCHEMA, Answer, DryRun, Plan, verb
from foveal.cli.band_range import BandRange, with_band_range
from foveal.cli.console import make_console
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
from foveal.cli.predict import Precision
from foveal.cli.progress import progress_bar
from foveal.evaluation.story import (
    COCO_LIMIT,
    benchmark_numbers,
    cautions,
    costliest,
    found_nothing,
    headlines,
    images_in_words,
    largest_classes,
    limit_of_coco,
    overview,
)
from foveal.text import between, counted, decimal, percent, shorten

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from foveal.data.dataset import Dataset
    from foveal.data.opening import DataOptions
    from foveal.evaluation.results import Evaluation
    from foveal.outputs.result_folder import ResultFolder

_MAX_CLASSES = 30
"""Longer tables of classes are cut; metrics.json and the report have them all."""
_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A detector that was measured.

    Attributes:
        model: the model, or COCO results.
        metrics: what metrics.json holds.
        written: the files that were written.
    """

    model: Path
    metrics: dict[str, Any] = field(metadata={SCHEMA: "metrics"})
    written: tuple[Path, ...]


@verb(
    "evaluate",
    Evaluated,
    examples=(
        "foveal evaluate runs/cells cells:test --out measured",
        "foveal evaluate their_results.json cells:test --out measured --score-threshold 0.5",
        "foveal evaluate cells.xml cells:test --out measured --overwrite --json",
    ),
)
@takes_data
def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A model file (.safetensors), an exported model (.xml, .onnx), the folder of a "
            "run, a name in your library (foveal models), or COCO results (.json).",
        ),
    ],
    data: Annotated[str, typer.Argument(metavar="DATA", help=f"Labeled images: {ADDRESS}.")],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder for metrics.json and report.html.")
    ],
    options: DataOptions,
    score_threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="The score from which detections count; by default the model's own, chosen on "
            "validation data, or else the one of the best F1 on these images.",
        ),
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many detections of an image at most (models; by default the model's own), or "
            "how many of an image and class COCO's numbers take (COCO results; by default 100).",
            show_default=False,
        ),
    ] = None,
    batch: BatchOption = 8,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    result_boxes: ResultBoxes = None,
    band_range: BandRange = None,
    bad_images: BadImages = "stop",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Measure a detector: COCO's numbers, counts, error types, and a report to look at."""
    from foveal.data.opening import open_data
    from foveal.errors import FovealError
    from foveal.evaluation.metrics_file import to_metrics
    from foveal.reports.evaluation import REPORT, check_evaluation_folder

    model = find_model(model)
    if not model.exists():
        raise FovealError(
            f"{model} does not exist. Expected a model, a name in your library (foveal models "
            "list) or COCO results (.json)."
        )
    results = check_evaluation_folder(out, overwrite=overwrite)
    dataset = ordered(open_data(data, options))
    written = out / "metrics.json", out / REPORT
    if dry_run:
        return Plan([model, data], written, steps=[f"measure {model} on {dataset.summary()}"])
    if model.suffix.lower() == ".json":
        evaluation = _evaluate_results(
            model,
            data,
            dataset,
            options=options,
            results=results,
            score_threshold=score_threshold,
            max_detections=max_detections or COCO_LIMIT,
            boxes=result_boxes,
        )
    else:
        evaluation = _evaluate_model(
            model,
            dataset,
            out=out,
            score_threshold=score_threshold,
            max_detections=max_detections,
            batch=batch,
            device=device,
            precision=precision,
            band_range=band_range,
            bad_images=bad_images,
        )
    return Answer(
        Evaluated(model, to_metrics(evaluation), written), tell=lambda: _tell(evaluation, written)
    )


def _tell(evaluation: Evaluation, written: tuple[Path, ...]) -> None:
    console = make_console()
    _show(console, evaluation)
    console.print(f"Written: {', '.join(map(str, written))}", soft_wrap=True)


def ordered(dataset: Dataset) -> Dataset:
    """The images in the order of their ids, as COCO's tools have them: it decides between ties."""
    ids = [record.image_id for record in dataset]
    whole = [key for key in ids if isinstance(key, int)]
    if len(whole) < len(ids):
        return dataset
    return dataset.take(sorted(range(len(ids)), key=whole.__getitem__))


def _evaluate_results(
    path: Path,
    address: str,
    dataset: Dataset,
    *,
    options: DataOptions,
    results: ResultFolder,
    score_threshold: float | None,
    max_detections: int,
    boxes: str | None,
) -> Evaluation:
    from foveal.data.checks.readiness import Readiness
    from foveal.data.formats.coco_results import category_labels, read_results
    from foveal.evaluation.evaluate import evaluate as evaluate_detections
    from foveal.evaluation.metrics_file import write_metrics
    from foveal.reports.evaluation import REPORT, write_evaluation_report

    dataset = Readiness("keep").make_ready(dataset)
    labels = category_labels(address, dataset.classes, options)
    evaluation = evaluate_detections(
        read_results(path, dataset, labels=labels, options=options, boxes=boxes),
        dataset.targets,
        dataset.classes,
        max_detections=max_detections,
        score_threshold=score_threshold,
    )
    results.record()
    write_metrics(results.path / "metrics.json", evaluation)
    write_evaluation_report(
        results.path / REPORT, evaluation, dataset=dataset, model=f"the results {path.name}"
    )
    return evaluation


def _evaluate_model(
    path: Path,
    dataset: Dataset,
    *,
    out: Path,
    score_threshold: float | None,
    max_detections: int | None,
    batch: int,
    device: str,
    precision: Precision,
    band_range: str | None,
    bad_images: Literal["stop", "skip"],
) -> Evaluation:
    from foveal.detector import load

    detector = load(path)
    if score_threshold is not None:
        detector.card = replace(
            detector.card, score_threshold=score_threshold, threshold_is_chosen=True
        )
    # Low scores too: the curves need them.
    predictor = detector.predictor(
        score_threshold=detector.settings.decoding.score_threshold,
        max_detections=max_detections,
        device=device,
        precision=precision,
    )
    predictor = with_band_range(replace(predictor, batch=batch), band_range)
    with progress_bar(len(dataset)) as bar:
        return detector.evaluate(
            dataset,
            out=out,
            overwrite=True,
            predictor=predictor,
            bad_images=bad_images,
            progress=bar.update,
        )


def _show(console: Console, evaluation: Evaluation) -> None:
    """Print the numbers, those first that need no explanation."""
    console.print(
        f"{images_in_words(evaluation.images, evaluation.images_without_objects)}, "
        f"{counted(evaluation.objects, 'object')} of "
        f"{counted(len(evaluation.classes), 'class')}, "
        f"{counted(evaluation.detections, 'detection')}\n"
    )
    console.print(overview(evaluation))
    for headline in headlines(evaluation):
        console.print(headline.sentence)
    if evaluation.objects and not found_nothing(evaluation):
        console.print(costliest(evaluation.errors))
    for caution in cautions(evaluation):
        console.print(caution)
    console.print()
    console.print(_class_table(evaluation))
    hidden = len(evaluation.per_class) - _MAX_CLASSES
    if hidden > 0:
        console.print(f"and {hidden} more, in metrics.json")
    console.print()
    console.print(_benchmark_table(evaluation))
    console.print(limit_of_coco(evaluation), soft_wrap=True)


def _class_table(evaluation: Evaluation) -> Table:
    table = _table(
        *("class", "objects", "predicted", "AP50", "95% interval", "AP", "recall", "precision")
    )
    for _, result in largest_classes(evaluation, count=_MAX_CLASSES):
        interval = result.ap50_interval
        table.add_row(
            shorten(result.name, _LONGEST_NAME),
            f"{result.objects:,}",
            f"{int(result.counts.predicted.sum()):,}",
            decimal(result.coco.ap50),
            between(interval.low, interval.high, 2),
            decimal(result.coco.ap),
            percent(result.recall),
            percent(result.precision),
        )
    return table


def _benchmark_table(evaluation: Evaluation) -> Table:
    table = _table("benchmark", "", "")
    table.columns[2].justify = "left"
    for number in benchmark_numbers(evaluation, max_detections=evaluation.max_detections):
        table.add_row(number.name, decimal(number.value), number.meaning)
    return table


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for number, column in enumerate(columns):
        table.add_column(
            column,
            justify="right" if number else "left",
            no_wrap=number > 0,
            min_width=0 if number else 12,
        )
    return table

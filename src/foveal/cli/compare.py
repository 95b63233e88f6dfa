"""`foveal compare`: which of two detectors is better on the same images, and how sure that is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.answers import SCHEMA, Answer, DryRun, Plan, verb
from foveal.cli.console import make_console, say
from foveal.cli.data_options import ADDRESS, takes_data
from foveal.cli.evaluate import ordered
from foveal.cli.measuring_options import (
    BadImages,
    BatchOption,
    DeviceOption,
    Overwrite,
    PrecisionOption,
    ResultBoxes,
)
from foveal.cli.predict import Precision
from foveal.cli.progress import progress_bar

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset
    from foveal.data.opening import DataOptions
    from foveal.inference.contestants import Contestant
    from foveal.inference.opening import Opened
    from foveal.inference.predictor import Predictor

_DETECTOR = (
    "A model file (.safetensors), an exported model (.xml, .onnx), the folder of a run, or COCO "
    "results of any detector (.json)."
)


@dataclass(frozen=True, slots=True)
class Compared:
    """Two detectors that were compared.

    Attributes:
        comparison: what compare.json holds.
        written: the files that were written.
    """

    comparison: dict[str, Any] = field(metadata={SCHEMA: "compare"})
    written: tuple[Path, ...]


@verb(
    "compare",
    Compared,
    examples=(
        "foveal compare runs/old runs/new cells:test --out compared",
        "foveal compare best.safetensors their_results.json cells:test --out compared",
    ),
)
@takes_data
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help=_DETECTOR)],
    second: Annotated[Path, typer.Argument(metavar="B", help="The other one, likewise.")],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help=f"Labeled images that neither was trained on: {ADDRESS}."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder for compare.json and compare.html.")
    ],
    options: DataOptions,
    score_threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="The score from which detections of both count; by default each model's own, or "
            "else the one of the best F1 on these images.",
        ),
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many detections of an image and class AP is made of; by default as many as "
            "the models give, 100 of COCO results.",
            show_default=False,
        ),
    ] = None,
    batch: BatchOption = 8,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    result_boxes: ResultBoxes = None,
    bad_images: BadImages = "stop",
    pictures: Annotated[
        int, typer.Option(min=0, help="How many of the images where they differ most are drawn.")
    ] = 12,
    seed: Annotated[int, typer.Option(help="Of the drawing of images for the intervals.")] = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Compare two detectors on the same images, with intervals: is one of them better?"""
    from foveal.data.checks.readiness import SKIP_IN_EVALUATION, Readiness
    from foveal.data.opening import open_data
    from foveal.errors import FovealError
    from foveal.evaluation.comparison import compare as compare_detections
    from foveal.evaluation.comparison_file import to_document, write_comparison
    from foveal.evaluation.comparison_story import doubts, more_differences, verdict
    from foveal.inference.contestants import limit_of_both, name_apart
    from foveal.reports.comparison import (
        NUMBERS,
        PAGE,
        check_comparison_folder,
        write_comparison_report,
    )

    paths = (first, second)
    for path in paths:
        if not path.exists():
            raise FovealError(f"{path} does not exist. Expected a model or COCO results (.json).")
    folder = check_comparison_folder(out, overwrite=overwrite)
    names = name_apart(first, second)
    written = out / NUMBERS, out / PAGE
    if dry_run:
        summary = open_data(data, options).summary()
        step = f"compare {names[0]} and {names[1]} on {summary}"
        return Plan([first, second, data], written, steps=[step])
    models = [
        None
        if path.suffix.lower() == ".json"
        else _open(path, name, device=device, precision=precision)
        for path, name in zip(paths, names, strict=True)
    ]
    whole = _ignoring(ordered(open_data(data, options)), models)
    unreadable = bad_images if any(model is not None for model in models) else "keep"
    dataset = Readiness(unreadable, skip=SKIP_IN_EVALUATION, decode=True).make_ready(whole)
    contestants = _look(
        paths,
        names,
        models,
        dataset,
        whole=whole,
        address=data,
        options=options,
        batch=batch,
        boxes=result_boxes,
        score_threshold=score_threshold,
    )
    one, other = contestants
    comparison = compare_detections(
        one.detections,
        other.detections,
        dataset.targets,
        dataset.classes,
        max_detections=max_detections or limit_of_both(contestants),
        score_thresholds=(one.score_threshold, other.score_threshold),
        seed=seed,
    )
    known = [
        {
            "name": each.name,
            "path": str(each.path),
            "bytes": each.bytes,
            "runtime": each.runtime or None,
            "milliseconds": each.milliseconds,
        }
        for each in contestants
    ]
    sentence = verdict(comparison, names)
    files = [record.path.name for record in dataset]
    folder.record()
    write_comparison(out / NUMBERS, comparison, known, verdict=sentence, image_names=files)
    write_comparison_report(out / PAGE, comparison, contestants, dataset=dataset, pictures=pictures)
    document = to_document(comparison, known, verdict=sentence, image_names=files)

    def tell() -> None:
        console = make_console()
        for line in (sentence, *more_differences(comparison, names), *doubts(comparison, names)):
            console.print(line)
        for each in contestants:
            if each.milliseconds is not None:
                console.print(f"{each.name}: {each.milliseconds:,.1f} ms an image, {each.runtime}.")
        say(f"Written: {', '.join(map(str, written))}")

    return Answer(Compared(document, written), tell)


def _open(path: Path, name: str, *, device: str, precision: Precision) -> Opened:
    from foveal.errors import ModelFileError
    from foveal.inference.opening import open_model

    try:
        return open_model(path, device=device, precision=precision)
    except ModelFileError as error:
        if path.is_dir():
            raise ModelFileError(f"{name}: {error}") from None
        raise


def _ignoring(dataset: Dataset, models: list[Opened | None]) -> Dataset:
    """The data set with the classes that either model took for regions to ignore as such."""
    ignored = {
        name
        for model in models
        if model is not None
        for name in model.description.card.ignored_classes
        if name in dataset.classes
    }
    if not ignored:
        return dataset
    from foveal.text import listed

    names = sorted(ignored)
    say(f"Regions to ignore for both, as in a model's training: {listed(names, 6)}.", stderr=True)
    return dataset.ignoring(names)


def _look(
    paths: tuple[Path, Path],
    names: tuple[str, str],
    models: list[Opened | None],
    dataset: Dataset,
    *,
    whole: Dataset,
    address: str,
    options: DataOptions,
    batch: int,
    boxes: str | None,
    score_threshold: float | None,
) -> tuple[Contestant, Contestant]:
    """What each finds in the images, and in what time."""
    from dataclasses import replace

    from foveal.data.formats.coco_results import category_labels, read_results
    from foveal.evaluation.story import COCO_LIMIT
    from foveal.inference.contestants import (
        Contestant,
        expect_known,
        file_bytes,
        fitted,
        in_classes_of,
        limit_of_model,
        look,
        time_together,
    )

    # What can be wrong is looked at before any model runs.
    results = [
        None
        if model is not None
        else read_results(
            path,
            whole,
            labels=category_labels(address, whole.classes, options),
            options=options,
            boxes=boxes,
        )
        for path, model in zip(paths, models, strict=True)
    ]
    for name, model in zip(names, models, strict=True):
        if model is not None:
            expect_known(dataset, model.description.card.classes, name=name)
    readable = {str(record.path) for record in dataset}
    contestants: list[Contestant] = []
    predictors: list[Predictor | None] = []
    seconds: list[float] = []
    for path, name, model, read in zip(paths, names, models, results, strict=True):
        began = time.monotonic()
        if model is None:
            assert read is not None
            kept = [
                found
                for found, record in zip(read, whole, strict=True)
                if str(record.path) in readable
            ]
            predictors.append(None)
            contestants.append(Contestant(name, path, kept, score_threshold, COCO_LIMIT))
        else:
            card = model.description.card
            predictor = fitted(replace(model.measuring_predictor(), batch=batch), dataset)
            with progress_bar(len(dataset)) as bar:
                found = look(predictor, dataset, progress=bar.update)
            own = card.score_threshold if card.threshold_is_chosen else None
            runtime = model.runtime
            predictors.append(predictor)
            contestants.append(
                Contestant(
                    name,
                    model.path or path,
                    in_classes_of(found, dataset.classes, name=name),
                    own if score_threshold is None else score_threshold,
                    limit_of_model(found, predictor),
                    file_bytes(model.path or path),
                    f"{runtime.name}, {runtime.device}, {runtime.precision}",
                )
            )
        seconds.append((time.monotonic() - began) / max(1, len(dataset)))
    times = time_together(predictors, dataset, seconds=seconds)
    first, second = (
        replace(one, milliseconds=milliseconds)
        for one, milliseconds in zip(contestants, times, strict=True)
    )
    return first, second

"""`foveal train`: from labeled images to a trained detector."""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.answers import Answer, DryRun, Plan, verb
from foveal.cli.console import make_console, say
from foveal.cli.data_options import ADDRESS, ValidImages, takes_data, with_valid
from foveal.cli.train_experiments import (
    ExperimentDone,
    check_experiment,
    check_experiment_folder,
    run_experiment,
)
from foveal.distributed import is_first_process
from foveal.evaluation.story import NOTHING
from foveal.files import write_file
from foveal.text import counted, decimal, listed, without_nan
from foveal.training.run_folder import LEARNING_RATES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from foveal.config import Settings
    from foveal.data.dataset import Dataset
    from foveal.data.opening import DataOptions
    from foveal.detector import Detector
    from foveal.training.reporters import Reporter
    from foveal.tuning.learning_rate import LearningRateCurve

_PLAIN: dict[str, dict[str, Any]] = {
    "model": {"box_coding": "deltas", "box_bins": 0, "level_scales": False},
    "assignment": {"method": "iou"},
    "loss": {"classification": "focal", "box": "smooth_l1", "box_weight": 1.0},
}
"""What a run had before there were such settings."""
CURVE_ROWS = 12
AUTO = "auto"
_MAX_NAMES = 8


@dataclass(frozen=True, slots=True)
class Trained:
    """A detector that was trained.

    Attributes:
        folder: the run's.
        model: its best.
        epoch: after which it was the best; null where none was measured.
        metrics: on the validation images, such as AP.
        score_threshold: the least score of a detection.
        threshold_is_chosen: whether that was chosen on the validation images.
        classes: its classes.
    """

    folder: Path
    model: Path
    epoch: int | None
    metrics: dict[str, float | None]
    score_threshold: float
    threshold_is_chosen: bool
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettingsShown:
    """What --show gives: settings, and nothing is trained.

    Attributes:
        settings: all of them, by section and name.
    """

    settings: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class LearningRateFound:
    """What --find-learning-rate gives: a sweep, and nothing is trained.

    Attributes:
        suggestion: for the batch.
        batch: images a step.
        setting: the suggestion as training.learning_rate, which is stated for 16 images.
        rule: how it was chosen.
        learning_rates: that were tried.
        losses, smoothed: at each of them.
        written: the files that were written.
    """

    suggestion: float
    batch: int
    setting: float
    rule: str
    learning_rates: tuple[float, ...]
    losses: tuple[float | None, ...]
    smoothed: tuple[float | None, ...]
    written: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class BatchSizeFound:
    """What --find-batch-size gives: the largest batch that fits, and nothing is trained.

    Attributes:
        batch: images a step.
        is_limit: whether no larger ones were tried.
    """

    batch: int
    is_limit: bool


@verb(
    "train",
    Trained,
    ExperimentDone,
    SettingsShown,
    LearningRateFound,
    BatchSizeFound,
    examples=(
        "foveal train cells:train --valid cells:val --out runs/cells",
        "foveal train cells:train --out runs/light --preset light --minutes 30",
        "foveal train cells:train --start coco --out runs/cells --set training.epochs=20",
        "foveal train cells:train --valid cells:val --out runs/cells --resume",
    ),
)
@takes_data
def train(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help=f"The training images with their annotations: {ADDRESS}.",
            show_default=False,
        ),
    ],
    options: DataOptions,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="The run's folder.", show_default=False)
    ] = None,
    valid: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="The validation images; without them a part of DATA is held out.",
            show_default=False,
        ),
    ] = None,
    valid_images: ValidImages = None,
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Where the settings begin: standard (a GPU's), medium and light (a CPU's), scenes "
            "(large images, small objects), fcos and atss, with one anchor a location; retinanet "
            "(nine, fitted to the data), paper, torchvision, torchvision_v2.",
        ),
    ] = "standard",
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Settings as TOML, on top of the preset.", show_default=False
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.NAME=VALUE",
            help="A single setting, on top of both; several times.",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="How long training and validations may take on this machine, in place of a number "
            "of epochs; the report and the export come afterwards.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Images a step; auto: 8, more where that is faster on this machine and fits into "
            "its memory, fewer where 8 do not fit.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="A model file, a run, a name in your library, or a checkpoint that foveal import "
            "can read, to begin from: its weights (class by class, by name), network, anchors, "
            "preparation and decoding, where --config or --set say nothing else.",
            show_default=False,
        ),
    ] = None,
    refit_anchors: Annotated[
        bool,
        typer.Option("--refit-anchors", help="With --start: fit the anchors to DATA all the same."),
    ] = False,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="An augmentation of your own in place of foveal's: a function from (sample, "
            "generator) to sample, one of torchvision.transforms.v2 or of albumentations.",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="A trained model, mostly a larger one, that the network imitates: a model file, "
            "a run, or a checkpoint that foveal import can read.",
            show_default=False,
        ),
    ] = None,
    unlabeled: Annotated[
        list[str] | None,
        typer.Option(
            "--unlabeled",
            "--unlabelled",
            metavar="FOLDER",
            help="Images without labels, a folder or a glob; several times. The trained model "
            "labels them where it is sure, and a new one learns from both; the better one is "
            "kept. training.minutes is for all trainings together.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="With --unlabeled: how many trainings follow the first one; 1 or 2. Without it 1.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="K",
            help="Train K times, each time without a K-th of the images, and measure on that: AP "
            "with its spread, detections in every image by a model that did not learn from it, and "
            "one model of all images. --minutes is for all trainings together.",
            show_default=False,
        ),
    ] = None,
    fractions: Annotated[
        str | None,
        typer.Option(
            metavar="F,F,...",
            help="Train on these fractions of the images, such as 0.25,0.5,1: a learning curve, "
            "and what twice the images would bring. --minutes is for all trainings together.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --out where it stopped; begin where there is none.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Print the effective settings as TOML, and stop.")
    ] = False,
    find_learning_rate: Annotated[
        bool,
        typer.Option(
            "--find-learning-rate",
            help="Try learning rates, print the curve and a suggestion, and stop.",
        ),
    ] = False,
    find_batch_size: Annotated[
        bool,
        typer.Option(
            "--find-batch-size", help="Find the largest batch that fits into the memory, and stop."
        ),
    ] = False,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Train a detector.

    The same command trains on one CPU or GPU and, started by torchrun or accelerate launch, on many
    (torchrun --nproc-per-node 4 -m foveal train ...).
    """
    from foveal.config import Settings, gather_settings, make_settings, to_toml
    from foveal.data.opening import open_together
    from foveal.data.transforms.user import load_augmentation
    from foveal.detector import Detector
    from foveal.errors import SettingsError
    from foveal.experiments.folder import check_no_other

    changes = list(overrides or [])
    kind = check_experiment(
        folds=folds,
        fractions=fractions,
        changes=changes,
        others={
            "--valid": valid is not None and folds is not None,
            "--unlabeled": bool(unlabeled),
            "--find-learning-rate": find_learning_rate,
            "--find-batch-size": find_batch_size,
        },
    )
    if augment is not None:
        load_augmentation(augment)
        changes.append(f"augmentation.custom={augment}")
    if minutes is not None:
        for change in changes:
            if change.partition("=")[0].strip() in ("training.epochs", "training.minutes"):
                raise SettingsError(f"--minutes {minutes:g} and --set {change}: give one of them.")
        changes.append(f"training.minutes={minutes}")
    if teacher is not None:
        changes.append(f"training.teacher={json.dumps(str(teacher), ensure_ascii=False)}")
    if batch is not None:
        _check_batch(batch, changes)
        if batch != AUTO:
            changes.append(f"training.batch={batch}")
    settings = (
        make_settings(preset=preset, file=config, overrides=changes)
        if start is None
        else gather_settings(  # the detector knows what of the preset goes with a start
            preset=preset, file=config, overrides=changes, without=tuple(Settings.model_fields)
        )
    )
    if resume and out is not None and isinstance(settings, Settings):
        given = gather_settings(
            file=config, overrides=changes, without=tuple(Settings.model_fields)
        )
        settings = _as_begun(settings, given, out)
    # What can be known without the data, which take their time to be read:
    trains = not (show or find_learning_rate or find_batch_size)
    if trains:
        if rounds is not None and not unlabeled:
            raise SettingsError("--rounds goes with --unlabeled FOLDER, images without labels.")
        if out is None:
            raise SettingsError("There is no folder for the run. Give one: --out RUN.")
        check_no_other(out, kind, overwrite=overwrite)
        check_experiment_folder(out, kind, resume=resume, overwrite=overwrite)
    dataset, *others = open_together(
        with_valid(data, options, valid=valid, valid_images=valid_images)
    )
    # Before images are looked at and anchors fitted, which takes its time:
    validation = others[0].aligned(dataset.classes) if others else None
    if not show and isinstance(settings, Settings):  # else the model to begin from has weights
        from foveal.models.backbones import find_weights

        find_weights(settings.model.backbone, settings.model.weights, fetch=not dry_run)
    detector = Detector(
        dataset, settings=settings, preset=preset, start=start, refit_anchors=refit_anchors
    )
    detector.card = replace(detector.card, ignored_classes=options.ignore)
    console = make_console(stderr=True)
    if show:
        shown = SettingsShown(detector.settings.model_dump(mode="json"))
        return Answer(shown, tell=lambda: say(to_toml(detector.settings).rstrip("\n")))
    if find_learning_rate:
        if dry_run:
            return Plan([data], _curve_files(out), steps=["try learning rates"])
        return _find_learning_rate(detector, out)
    if find_batch_size:
        if dry_run:
            return Plan([data], steps=["try batches of growing sizes"])
        return _find_batch_size(detector, dataset)
    assert out is not None
    if dry_run:
        from foveal.training.outlook import describe_weights

        begins = "" if detector.card.origin else describe_weights(detector.settings.model)
        return Plan(
            [str(each) for each in (data, valid, start, teacher, *(unlabeled or [])) if each],
            [out],
            [out] if overwrite and out.exists() else [],
            steps=[*_description(detector, dataset, data), *filter(None, [begins])],
        )
    if batch == AUTO:
        _choose_batch(detector, dataset, console, out=out if resume else None)
    if is_first_process():
        for line in _description(detector, dataset, data):
            console.print(line, soft_wrap=True)
    arguments = sys.argv[1:] if context.obj is None else context.obj  # of a command that runs ours
    if kind is not None:
        from foveal.experiments.recipe import Recipe

        recipe = Recipe(
            preset,
            settings,
            start,
            refit_anchors,
            options.ignore,
            {"batch": detector.settings.training.batch},
        )
        with _watching(console, arguments) as reporter:
            return run_experiment(
                dataset,
                recipe,
                folds=folds,
                fractions=fractions,
                valid=validation,
                out=out,
                resume=resume,
                overwrite=overwrite,
                reporter=reporter,
                source=(data, options),
            )
    return _fit(
        detector,
        console,
        valid=validation,
        out=out,
        resume=resume,
        overwrite=overwrite,
        arguments=arguments,
        unlabeled=unlabeled or [],
        rounds=rounds or 1,
    )


def _as_begun(settings: Settings, given: Mapping[str, Mapping[str, Any]], out: Path) -> Settings:
    """Settings for a run to go on with whose preset had other anchors, assignment, losses or boxes.

    Or another backbone, see `_with_backbone_of`.

    Args:
        settings: of today.
        given: what was set on top of the preset, which stays.
        out: the run's folder.
    """
    import tomllib

    from foveal.config import change_settings
    from foveal.config.renamed import rename_settings
    from foveal.errors import SettingsError
    from foveal.training.run_folder import RunFolder

    folder = RunFolder(out)
    if not folder.can_resume or not folder.config.is_file():
        return settings
    try:
        begun = rename_settings(tomllib.loads(folder.config.read_text(encoding="utf-8")))
        settings = _with_backbone_of(begun.get("model", {}), settings, given, out)
        values = {
            section: {
                name: value
                for name, value in {**_PLAIN.get(section, {}), **begun.get(section, {})}.items()
                if name not in given.get(section, {})
            }
            for section in (*_PLAIN, "anchors")
        }
        values["model"] = {n: v for n, v in values["model"].items() if n in _PLAIN["model"]}
        kept = change_settings(settings, values)
    except (OSError, ValueError, SettingsError):  # the run itself says what can't be read
        return settings
    if all(
        getattr(getattr(kept, section), name) == getattr(getattr(settings, section), name)
        for section, part in _PLAIN.items()
        for name in part
    ):
        return settings  # the same preset: what else differs is said
    if is_first_process():
        say(
            f"{out} goes on as it began: with {counted(kept.anchors.per_location, 'anchor')} a "
            f"location, assigned by {kept.assignment.method!r}, the losses "
            f"{kept.loss.classification!r} and {kept.loss.box!r}, and boxes as "
            f"{kept.model.box_coding!r}. The preset has others today.",
            stderr=True,
        )
    return kept


def _with_backbone_of(
    begun: Mapping[str, Any], settings: Settings, given: Mapping[str, Mapping[str, Any]], out: Path
) -> Settings:
    """With a run's own backbone where a preset takes another by what is installed today."""
    from foveal.config import change_settings
    from foveal.config.presets import PACKAGE_MODEL

    own = {name: begun[name] for name in PACKAGE_MODEL if name in begun}
    now = {name: getattr(settings.model, name) for name in PACKAGE_MODEL}
    chosen = PACKAGE_MODEL.keys() & given.get("model", {}).keys()
    if chosen or own == now or PACKAGE_MODEL not in (own, now):
        return settings
    kept = change_settings(settings, {"model": own})
    if is_first_process():
        say(
            f"{out} goes on with the backbone that it began with, {kept.model.backbone}: the "
            "preset has another today, since foveal[weights] was installed or removed.",
            stderr=True,
        )
    return kept


def _description(detector: Detector, dataset: Dataset, data: str) -> list[str]:
    """Say what was chosen."""
    from foveal.training.budget import in_minutes

    settings = detector.settings
    lines = [
        f"{data}: {counted(len(dataset), 'image')}, {counted(len(detector.classes), 'class')} "
        f"({listed(detector.classes, _MAX_NAMES)})"
    ]
    if detector.anchors is not None:
        lines.append(detector.anchors.text)
    training = settings.training
    length = (
        counted(training.epochs, "epoch")
        if training.minutes is None
        else in_minutes(training.minutes)
    )
    lines.append(
        f"training: {settings.model.backbone}, {settings.preparation.shorter} px, "
        f"{length} of {counted(training.batch, 'image')} a step, "
        f"{training.optimizer} "
        f"({training.schedule}); all settings: --show"
    )
    return lines


def _fit(
    detector: Detector,
    console: Console,
    *,
    valid: Dataset | None,
    out: Path,
    resume: bool,
    overwrite: bool,
    arguments: Sequence[str],
    unlabeled: Sequence[str],
    rounds: int,
) -> Answer:
    from foveal.distributed import end_processes

    with _watching(console, arguments) as reporter:
        given: dict[str, Any] = {
            "valid": valid,
            "out": out,
            "resume": resume,
            "overwrite": overwrite,
            "reporter": reporter,
        }
        if unlabeled:
            detector.self_train(unlabeled, rounds=rounds, **given)
        else:
            detector.fit(**given)
    end_processes()
    card = detector.card
    trained = Trained(
        out,
        out / "best.safetensors",
        card.epoch,
        dict(card.metrics),
        score_threshold=detector.score_threshold,
        threshold_is_chosen=card.threshold_is_chosen,
        classes=card.classes,
    )
    return Answer(trained, tell=lambda: _conclude(trained))


@contextmanager
def _watching(console: Console, arguments: Sequence[str]) -> Iterator[Reporter]:
    """Show how trainings go, and how to go on where a signal stops them."""
    from foveal.errors import TrainingInterrupted
    from foveal.training.progress import watching

    try:
        with watching(console) as reporter:
            yield reporter
    except TrainingInterrupted as interruption:
        raise TrainingInterrupted(f"{interruption}\n{_resuming_command(arguments)}") from None


def _conclude(trained: Trained) -> None:
    said = ", ".join(
        f"{name} {decimal(trained.metrics[name] or 0.0)}"
        for name in ("AP", "AP50")
        if trained.metrics.get(name) is not None
    )
    ap = trained.metrics.get("AP")
    word = "Best" if (ap or 0.0) > 0 else "Kept"
    folder = shlex.quote(str(trained.folder))
    if ap is not None and ap < NOTHING:
        make_console().print(
            "Nothing was learned: AP is 0.000 on the validation images. The likeliest reasons "
            "stand above and in the report.\n"
            f"{word}: epoch {trained.epoch}; {trained.model}, which finds nothing of use.\n"
            "Next: foveal data show DATA --out sheet.html --as-trained shows what the network was "
            "shown; then train longer, or with a change that a reason names.",
            soft_wrap=True,
        )
        return
    make_console().print(
        f"{word}: epoch {trained.epoch}{', ' + said if said else ''}; "
        f"{trained.model} (threshold {trained.score_threshold:.2f}).\n"
        f"Next: foveal predict {folder} IMAGES --out DIR, foveal evaluate {folder} DATA --out DIR",
        soft_wrap=True,
    )


def _find_learning_rate(detector: Detector, out: Path | None) -> Answer:
    from foveal.training.schedule import setting_for

    curve = detector.find_learning_rate()
    training = detector.settings.training
    setting = setting_for(curve.suggestion, optimizer=training.optimizer, batch=training.batch)
    if out is not None and is_first_process():
        _write_curve(curve, out, setting=setting)

    def tell() -> None:
        console = make_console()
        _print_curve(curve, console)
        console.print(
            f"Suggestion: {curve.suggestion:.2g} for batches of {training.batch} ({curve.rule}), "
            f"which is --set training.learning_rate={setting:.2g} (stated for 16 images).",
            soft_wrap=True,
        )
        if out is not None:
            picture = out / f"{LEARNING_RATES}.svg"
            said = f"The curve is {picture}, its numbers are {LEARNING_RATES}.json."
        else:
            said = "--out DIR would keep the curve as a picture."
        console.print(said, soft_wrap=True)

    document = LearningRateFound(
        curve.suggestion,
        training.batch,
        setting,
        curve.rule,
        learning_rates=tuple(curve.learning_rates),
        losses=tuple(curve.losses),
        smoothed=tuple(curve.smoothed),
        written=tuple(_curve_files(out)),
    )
    return Answer(document, tell)


def _curve_files(out: Path | None) -> list[Path]:
    return [] if out is None else [out / f"{LEARNING_RATES}{each}" for each in (".svg", ".json")]


def _print_curve(curve: LearningRateCurve, console: Console) -> None:
    full = 1.2 * curve.smoothed[0]  # the divergence at the end would flatten the rest
    every = max(1, len(curve.smoothed) // CURVE_ROWS)
    for learning_rate, loss in list(zip(curve.learning_rates, curve.smoothed, strict=True))[
        ::every
    ]:
        bar = "█" * min(48, max(1, round(40 * loss / full)))
        console.print(f"{learning_rate:9.2e}  {loss:8.4f}  {bar}")


def _write_curve(curve: LearningRateCurve, out: Path, *, setting: float) -> None:
    from dataclasses import asdict

    curve.save(out / f"{LEARNING_RATES}.svg")
    values = asdict(curve) | {"training.learning_rate": setting}
    write_file(out / f"{LEARNING_RATES}.json", json.dumps(without_nan(values), allow_nan=False))


def _find_batch_size(detector: Detector, dataset: Dataset) -> Answer:
    from foveal.training.trial import fits_into_memory
    from foveal.tuning.batch_size import MAX_BATCH, find_batch_size

    images = find_batch_size(
        lambda number: fits_into_memory(detector.model, detector.settings, dataset, images=number)
    )
    size = BatchSizeFound(images, is_limit=2 * images > MAX_BATCH)
    said = (
        f"Batches of {counted(images, 'image')} fit"
        f"{' (no larger ones were tried)' if size.is_limit else ''}: "
        f"--set training.batch={images}. The learning rate follows."
    )
    return Answer(size, tell=lambda: make_console().print(said, markup=False))


def _check_batch(batch: str, changes: Sequence[str]) -> None:
    """See whether --batch can be done.

    Raises:
        SettingsError: it is neither a number nor auto, or contradicts something else.
    """
    from foveal.errors import SettingsError

    if batch != AUTO and not (batch.isdecimal() and int(batch) > 0):
        raise SettingsError(f"--batch {batch}: expected a number of images, or {AUTO}.")
    for change in changes:
        if change.partition("=")[0].strip() == "training.batch":
            raise SettingsError(f"--batch {batch} and --set {change}: give one of them.")
    if batch == AUTO and int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise SettingsError(
            f"--batch {AUTO} measures one process, and there are several. Give a number: --batch N "
            "for all of them together."
        )


def _choose_batch(
    detector: Detector, dataset: Dataset, console: Console, *, out: Path | None
) -> None:
    """Choose the batch that suits this machine; the one it began with for a run to go on with.

    Args:
        detector: its settings get the batch.
        dataset: the training images.
        console: is told what was chosen, and why.
        out: the folder of the run to go on with, if any.
    """
    from foveal.config import change_settings, make_settings
    from foveal.experiments.folder import holds_experiment
    from foveal.training.run_folder import RunFolder
    from foveal.training.trial import seconds_a_step
    from foveal.tuning.batch_size import choose_batch

    folder = None if out is None else RunFolder(out)
    begun = folder is not None and (folder.can_resume or holds_experiment(folder.path))
    if folder is not None and begun and folder.config.exists():
        batch = make_settings(file=folder.config).training.batch
        text = f"Batches of {counted(batch, 'image')}, with which this run began."
    else:
        choice = choose_batch(
            lambda images: seconds_a_step(
                detector.model, detector.settings, dataset, images=images
            ),
            images=len(dataset),
        )
        batch, text = choice.batch, choice.text
    detector.settings = change_settings(detector.settings, {"training": {"batch": batch}})
    console.print(text, soft_wrap=True, markup=False)


def _resuming_command(arguments: Sequence[str]) -> str:
    """What was typed, to go on; of torchrun's or accelerate's own part nothing is known here."""
    program = "foveal" if "WORLD_SIZE" not in os.environ else "... -m foveal"
    typed = [argument for argument in arguments if argument not in ("--overwrite", "--resume")]
    return f"{program} {shlex.join([*typed, '--resume'])}"

"""`foveal anchors`: sizes, scales and ratios that fit a data set, and the recall that they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.answers import Answer, DryRun, Plan, verb
from foveal.cli.console import make_console
from foveal.cli.data_options import ADDRESS, takes_data
from foveal.errors import DataError
from foveal.files import write_file
from foveal.text import counted, listed, percent, plain_number, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table

    from foveal.config import AnchorSettings, PreparationSettings, Settings
    from foveal.data.dataset import Dataset
    from foveal.data.opening import DataOptions
    from foveal.tuning.anchor_fitting import AnchorFit, AnchorOption
    from foveal.tuning.anchor_metrics import AnchorQuality, GroupQuality


_NOTHING_TO_DO = (
    "So there is nothing to be done: foveal train takes these anchors by itself. What is worth a "
    "look is the table: objects without any location can't be learned. Nine anchors a location, "
    "fitted to the data, are another way: --preset retinanet."
)
"""What follows from anchors that have no shapes to fit."""


@dataclass(frozen=True, slots=True)
class ObjectGroup:
    """How well anchors fit some objects; null where there are none.

    Attributes:
        name: 'all', the class, or the range of sizes.
        objects: how many there are.
        recall: share of them with an anchor of at least the wanted IoU.
        mean_iou: mean of each object's best IoU.
        positives: locations or anchors assigned to an object.
        unassigned: share of the objects that none is assigned to.
    """

    name: str
    objects: int
    recall: float | None
    mean_iou: float | None
    positives: float | None
    unassigned: float | None


@dataclass(frozen=True, slots=True)
class AnchorsFitted:
    """Anchors for a data set, and how well they fit.

    Attributes:
        data: the data set.
        images: how many it has.
        text: what was chosen, and why.
        fitted: whether shapes were fitted; else there is one anchor a location.
        strides: how far apart locations are, input pixels.
        sizes: base sizes, input pixels.
        scales, ratios: of the shapes; empty where they are given one by one.
        per_location: anchors at each location.
        total: over all objects.
        by_size, by_class: over groups of them.
        positives_by_level: locations or anchors of each stride that are assigned to an object.
        written: the files that were written.
    """

    data: str
    images: int
    text: str
    fitted: bool
    strides: tuple[int, ...]
    sizes: tuple[float, ...]
    scales: tuple[float, ...]
    ratios: tuple[float, ...]
    per_location: int
    total: ObjectGroup
    by_size: tuple[ObjectGroup, ...]
    by_class: tuple[ObjectGroup, ...]
    positives_by_level: tuple[float | None, ...]
    written: tuple[Path, ...]


@verb(
    "anchors",
    AnchorsFitted,
    examples=(
        "foveal anchors cells:train",
        "foveal anchors cells:train --preset retinanet --out anchors.toml",
    ),
)
@takes_data
def anchors(
    data: Annotated[str, typer.Argument(metavar="DATA", help=f"Annotations: {ADDRESS}.")],
    options: DataOptions,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS",
            help="Shorter side of the network's input, or 'native' for unscaled images.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the anchors as settings, for --config of train."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a picture (.svg, .png); with --out it is beside it by default.",
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="Where the settings begin, as for foveal train.")
    ] = "standard",
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings on top of the preset, TOML.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.NAME=VALUE", help="A single setting; several times."
        ),
    ] = None,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Say which objects get how many locations in training, or fit anchors to them.

    Most presets have one anchor a location, and no shapes to fit. With --preset retinanet, --out or
    --picture nine anchors a location are fitted, and it says how many objects they reach.
    """
    from foveal.config import PRESETS, make_settings
    from foveal.data.checks.readiness import Readiness
    from foveal.data.opening import open_data
    from foveal.errors import SettingsError
    from foveal.tuning.anchor_chart import check_ending
    from foveal.tuning.anchor_fitting import fit_anchors, fit_finer, gather_objects
    from foveal.tuning.anchor_metrics import measure_anchors
    from foveal.tuning.data_defaults import fits_strides, why_no_shapes
    from foveal.tuning.location_fitting import fit_locations_to

    settings = make_settings(preset=preset, file=config, overrides=overrides or [])
    asked = out is not None or picture is not None
    own = PRESETS[preset].get("assignment", {}).get("method", "iou")
    if asked and settings.assignment.method == own != "iou":
        # Fitted anchors go with an assignment by their IoU; see config/presets.suit_anchors.
        by_iou = [*(overrides or []), "assignment.method=iou"]
        settings = _fittable(settings, preset=preset, file=config, overrides=by_iou)
    preparation = _preparation(size, settings.preparation)
    fixed = why_no_shapes(settings)
    if fixed and asked:
        raise SettingsError(f"{fixed}: nothing to write. Leave --out and --picture out.")
    picture = picture or (out and out.with_suffix(".svg"))
    if picture is not None:
        check_ending(picture)
    if out is not None:
        _check_settings_file(out)
    dataset = Readiness("keep").make_ready(open_data(data, options))
    files = tuple(file for file in (out, picture) if file is not None)
    if dry_run:
        step = f"look at the boxes of {dataset.summary()}"
        return Plan([data], files, steps=[step])
    if fixed:
        objects = gather_objects(dataset, preparation)
        chosen = fit_locations_to(
            objects,
            anchors=settings.anchors,
            fit_strides=preparation is not None and fits_strides(settings),
            windows=preparation is not None and preparation.mode == "windows",
        )
        quality = measure_anchors(
            objects,
            chosen.settings,
            assignment=settings.assignment,
            seed=settings.training.seed,
        )

        def tell_locations() -> None:
            console = make_console()
            _print_data(console, data, dataset, len(objects), preparation)
            _print_assigned(console, quality, chosen.settings.strides)
            console.print(sentence(chosen.text), soft_wrap=True)
            console.print(f"{sentence(fixed)} {_NOTHING_TO_DO}", soft_wrap=True)

        told = f"{sentence(chosen.text)} {sentence(fixed)} {_NOTHING_TO_DO}"
        document = _document(
            data, dataset, chosen.settings, quality, text=told, fitted=False, written=()
        )
        return Answer(document, tell_locations)
    fit = fit_anchors(
        dataset,
        anchors=settings.anchors,
        preparation=preparation,
        assignment=settings.assignment,
        fit_strides=fits_strides(settings),
        count_positives=True,
        seed=settings.training.seed,
    )
    finer = fit_finer(
        fit,
        assignment=settings.assignment,
        count_positives=True,
        seed=settings.training.seed,
    )
    larger = "a larger --size, then preparation.shorter; or smaller tiles"
    if preparation is not None and preparation.mode == "windows":
        larger = f"--set preparation.scale=N, which is {preparation.scale:g}"
    forced = settings.assignment.allow_low_quality_matches
    written = tuple(_write(fit, finer, out=out, picture=picture, data=data))

    def tell() -> None:
        console = make_console()
        _print_data(console, data, dataset, len(fit.objects), preparation)
        if len(fit.objects):
            _print_fit(console, fit)
        console.print(sentence(fit.text), soft_wrap=True)
        _print_advice(console, fit, finer, larger=larger, forced=forced)
        _print_written(console, finer, out=out, written=written)

    best = fit.chosen if finer is None else finer
    document = _document(
        data,
        dataset,
        best.settings,
        best.quality,
        text=sentence(fit.text),
        fitted=True,
        written=written,
    )
    return Answer(document, tell)


def _document(
    data: str,
    dataset: Dataset,
    settings: AnchorSettings,
    quality: AnchorQuality,
    *,
    text: str,
    fitted: bool,
    written: tuple[Path, ...],
) -> AnchorsFitted:
    def group(one: GroupQuality) -> ObjectGroup:
        return ObjectGroup(
            one.name,
            one.objects,
            recall=one.recall,
            mean_iou=one.mean_iou,
            positives=one.positives,
            unassigned=one.unassigned,
        )

    shapes = not settings.shapes
    return AnchorsFitted(
        data,
        len(dataset),
        text,
        fitted,
        strides=tuple(settings.strides),
        sizes=tuple(settings.sizes),
        scales=tuple(settings.scales) if shapes else (),
        ratios=tuple(settings.ratios) if shapes else (),
        per_location=settings.per_location,
        total=group(quality.total),
        by_size=tuple(map(group, quality.by_size)),
        by_class=tuple(map(group, quality.by_class)),
        positives_by_level=tuple(quality.positives_by_level),
        written=written,
    )


def _fittable(
    settings: Settings, *, preset: str, file: Path | None, overrides: list[str]
) -> Settings:
    """The settings with anchors to fit; the same where something else that is set forbids that."""
    from foveal.config import make_settings
    from foveal.errors import SettingsError

    try:
        return make_settings(preset=preset, file=file, overrides=overrides)
    except SettingsError:
        return settings


def _check_settings_file(path: Path) -> None:
    """See that nothing but anchors is replaced: settings of other sections would be lost."""
    import tomllib

    from foveal.errors import SettingsError

    if not path.is_file():
        return
    try:
        sections = sorted(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        sections = ["something else"]
    others = [name for name in sections if name != "anchors"]
    if others:
        raise SettingsError(
            f"{path}: holds more than anchors ({listed(others, 4)}), which would be lost. "
            "Choose another file: --out FILE."
        )


def _preparation(size: str | None, given: PreparationSettings) -> PreparationSettings | None:
    from foveal.errors import SettingsError

    if size is None:
        return given
    if size == "native":
        return None
    if not size.isdecimal() or not 32 <= int(size) <= 16384:
        raise SettingsError(f"--size {size}: expected pixels from 32 to 16384, or 'native'.")
    shorter = int(size)
    longer = max(shorter, round(given.longer * shorter / given.shorter))
    return given.model_copy(update={"shorter": shorter, "longer": longer})


def _print_data(
    console: Console,
    data: str,
    dataset: Dataset,
    objects: int,
    preparation: PreparationSettings | None,
) -> None:
    from foveal.training.outlook import images_without_objects

    scaled = "unscaled" if preparation is None else f"scaled to {preparation.shorter} px"
    if preparation is not None and preparation.mode == "windows":
        scaled = f"in windows of {preparation.shorter} px at scale {preparation.scale:g}"
    empty = images_without_objects(dataset)
    scaled += f", {empty:,} without objects" if empty else ""
    images = counted(len(dataset), "image")
    console.print(f"{data}: {images} ({scaled}), {counted(objects, 'object')}\n")


def _print_assigned(console: Console, quality: AnchorQuality, strides: tuple[int, ...]) -> None:
    """How many locations objects get, by size, class and level, and how many get none."""
    from foveal.tuning.anchor_metrics import MAX_ASSIGNED_IMAGES

    if not quality.total.objects:
        return
    table = _table(
        f"Locations per object (counted in at most {MAX_ASSIGNED_IMAGES} images)", "objects"
    )
    for name in ("count", "locations", "without any"):
        table.add_column(name, justify="right")
    for groups in ((quality.total, *quality.by_size), quality.by_class):
        for group in groups:
            if group.objects:
                cells = plain_number(group.positives), percent(group.unassigned, 1)
                table.add_row(group.name, f"{group.objects:,}", *cells)
        table.add_section()
    for stride, positives in zip(strides, quality.positives_by_level, strict=True):
        table.add_row(f"on stride {stride}", "", plain_number(positives), "")
    console.print(table)


def _print_fit(console: Console, fit: AnchorFit) -> None:
    console.print(_shape_table(fit))
    console.print(_quality_table(fit))
    console.print(_settings_table(fit))


def _shape_table(fit: AnchorFit) -> Table:
    table = _table("Mean shapes (input pixels) and the rule of thumb", "class")
    for name in ("objects", "height", "width", "ratio", "base size", "scale"):
        table.add_column(name, justify="right")
    for shape in fit.shapes:
        table.add_row(
            shape.name,
            f"{shape.objects:,}",
            f"{shape.height:.1f}",
            f"{shape.width:.1f}",
            f"{shape.ratio:.2f}",
            f"{shape.base_size:g}",
            f"{shape.scale:.3g}",
        )
    return table


def _quality_table(fit: AnchorFit) -> Table:
    """Recall, mean IoU and positives of the three options: overall, by size, class and level."""
    from foveal.tuning.anchor_metrics import MAX_ASSIGNED_IMAGES

    table = _table(
        f"Recall at IoU {fit.foreground_iou:g}, mean best IoU, positives per object (counted in at "
        f"most {MAX_ASSIGNED_IMAGES} images)",
        "objects",
    )
    table.add_column("count", justify="right")
    for option in fit.options:
        table.add_column(option.name, justify="right", no_wrap=True)
    for groups in ("by_size", "by_class"):
        rows = [getattr(option.quality, groups) for option in fit.options]
        if groups == "by_size":
            rows = [
                (option.quality.total, *row) for option, row in zip(fit.options, rows, strict=True)
            ]
        for same in zip(*rows, strict=True):
            if same[0].objects:
                table.add_row(same[0].name, f"{same[0].objects:,}", *map(_quality, same))
        table.add_section()
    for level, stride in enumerate(fit.default.settings.strides):
        cells = (plain_number(option.quality.positives_by_level[level]) for option in fit.options)
        table.add_row(f"on stride {stride}", "", *cells)
    return table


def _settings_table(fit: AnchorFit) -> Table:
    table = _table("Anchors", "")
    for name in ("sizes", "scales", "ratios"):
        table.add_column(name)
    for option in fit.options:
        shapes = option.settings
        if shapes.shapes:
            table.add_row(option.name, f"{shapes.per_location} boxes, given one by one", "", "")
            continue
        values = (shapes.sizes, shapes.scales, shapes.ratios)
        cells = (" ".join(f"{value:.3g}" for value in row) for row in values)
        table.add_row(option.name, *cells)
    return table


def _quality(group: GroupQuality) -> str:
    """Recall, mean best IoU and positives per object, in columns of their own."""
    positives = plain_number(group.positives)
    return f"{percent(group.recall, 1):>5} {group.mean_iou:.2f} {positives:>5}"


def _table(title: str, first: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column(first, no_wrap=True)
    return table


def _print_advice(
    console: Console, fit: AnchorFit, finer: AnchorOption | None, *, larger: str, forced: bool
) -> None:
    """Where too few objects are within reach: why, and what would help.

    Args:
        console: where it is printed.
        fit: of the anchors.
        finer: the best on finer strides, if any reaches enough.
        larger: how an input is made larger.
        forced: whether objects that the method of assignment gives no anchor get one all the same.
    """
    from foveal.tuning.anchor_fitting import WANTED_RECALL, find_enlargement

    recall = fit.chosen.quality.recall
    if not len(fit.objects) or recall >= WANTED_RECALL:
        return
    console.print(
        f"{percent(1 - recall, 1)} of the objects have no anchor with an IoU of "
        f"{fit.foreground_iou:g}. Locations of anchors are {fit.settings.strides[0]} px apart: "
        f"anchors of no shape could reach more than {percent(fit.reachable, 1)}. "
        f"{_unassigned(fit, forced=forced)}\n",
        soft_wrap=True,
    )
    if finer is not None:
        console.print(_finer_table(fit, finer))
        strides = " ".join(str(stride) for stride in finer.settings.strides)
        factor = (fit.settings.strides[0] // finer.settings.strides[0]) ** 2
        console.print(
            f"Finer strides reach {percent(finer.quality.recall, 1)}: {strides}. They cost about "
            f"{factor} times the locations, so as much more time and memory in the heads.",
            soft_wrap=True,
        )
    if (enlarged := find_enlargement(fit)) is not None and enlarged.factor > 1:
        console.print(
            f"{'Or an' if finer else 'An'} input {enlarged.factor:g} times as large: anchors "
            f"fitted there reach {percent(enlarged.recall, 1)} ({larger}).",
            soft_wrap=True,
        )


def _unassigned(fit: AnchorFit, *, forced: bool) -> str:
    """How many objects get no anchor in training, in words."""
    share = fit.chosen.quality.total.unassigned
    if not share:
        return "Training gives each object an anchor all the same."
    text = f"Training gives no anchor to {percent(share, 1)} of the objects and can't learn them"
    if forced:
        return f"{text}: others that are as near have their anchors."
    return f"{text}; --set assignment.allow_low_quality_matches=true gives one to most."


def _finer_table(fit: AnchorFit, finer: AnchorOption) -> Table:
    """The anchors of the present strides beside those of finer ones."""
    table = _table(f"Finer strides: recall at IoU {fit.foreground_iou:g}, mean best IoU", "objects")
    table.add_column("count", justify="right")
    for option in (fit.default, fit.search, finer):
        table.add_column(option.name, justify="right", no_wrap=True)
    qualities = (fit.default.quality, fit.search.quality, finer.quality)
    rows = [(quality.total, *quality.by_class) for quality in qualities]
    for same in zip(*rows, strict=True):
        if same[0].objects:
            table.add_row(same[0].name, f"{same[0].objects:,}", *map(_quality, same))
    return table


def _write(
    fit: AnchorFit,
    finer: AnchorOption | None,
    *,
    out: Path | None,
    picture: Path | None,
    data: str,
) -> Iterator[Path]:
    """Write the recommended settings and the picture; gives what was written."""
    from foveal.tuning.anchor_chart import draw_anchors
    from foveal.tuning.anchor_fitting import anchors_to_toml

    chosen = fit.chosen if finer is None else finer
    if out is not None:
        write_file(out, anchors_to_toml(chosen.settings), error=DataError)
        yield out
    if picture is not None and len(fit.objects):
        draw_anchors(replace(fit, chosen=chosen), picture, title=f"Anchors for {data}")
        yield picture


def _print_written(
    console: Console, finer: AnchorOption | None, *, out: Path | None, written: tuple[Path, ...]
) -> None:
    for file in written:
        if file != out:
            console.print(f"Wrote {file}", soft_wrap=True)
            continue
        named = f" (strides {finer.settings.strides[0]} and up)" if finer else ""
        console.print(f"Wrote {out}{named}: foveal train DATA --config {out}", soft_wrap=True)
        console.print(
            "With these, training assigns anchors by IoU; without them it has one anchor a "
            "location, which learned better on the data that we tried.",
            soft_wrap=True,
        )

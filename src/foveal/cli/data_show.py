"""`foveal data show`: a sheet of small pictures with boxes, of a data set or of its batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.answers import Answer, DryRun, Plan, verb
from foveal.cli.console import say
from foveal.cli.data_options import ADDRESS, ValidImages, takes_data, with_valid
from foveal.cli.outcomes import Outcome
from foveal.text import counted

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset
    from foveal.data.opening import DataOptions
    from foveal.reports.contact_sheet import ContactSheet

_MOST = 400
_PANEL = "With --as-trained"


@dataclass(frozen=True, slots=True)
class ClassShown:
    """A class of the data set.

    Attributes:
        name: of the class.
        objects, images: how many objects there are, in how many images.
        shown: in how many of the images shown.
    """

    name: str
    objects: int
    images: int
    shown: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A sheet that was written.

    Attributes:
        file: where it is.
        as_trained: whether it shows batches, and not images as they are.
        shown: how many images are on it.
        images: of how many, those to train on where it shows batches.
        said: what it says of them, sentence by sentence.
        classes: the rarest first; none where it shows batches.
        left_out: why images could not be shown, one line each.
    """

    file: Path
    as_trained: bool
    shown: int
    images: int
    said: tuple[str, ...]
    classes: tuple[ClassShown, ...]
    left_out: tuple[str, ...]


@verb(
    "data show",
    Shown,
    examples=(
        "foveal data show cells:train --out sheet.html",
        "foveal data show cells:train --out rare.png --class infected --count 60 --seed 1",
        "foveal data show cells:train --out batches.html --as-trained --anchors --preset light",
    ),
)
@takes_data
def show(
    data: Annotated[str, typer.Argument(metavar="DATA", help=f"Annotations: {ADDRESS}.")],
    options: DataOptions,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The sheet: a page (.html) or a picture (.png).",
            show_default=False,
        ),
    ],
    count: Annotated[
        int, typer.Option(metavar="N", min=1, max=_MOST, help="At most so many images.")
    ] = 24,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            help="Images that show this class; all of their boxes are drawn. Several times.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the images; another draws others.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file of --out.")
    ] = False,
    as_trained: Annotated[
        bool,
        typer.Option(
            "--as-trained",
            help="Show the first batches of a training in place of the images: augmented and "
            "prepared, by the settings that training would have.",
        ),
    ] = False,
    anchors: Annotated[
        bool,
        typer.Option(
            "--anchors",
            help="Mark the anchors that learn each object, and objects that have none.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    valid: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="The validation images, as in train; without them a part of DATA is held out.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    valid_images: ValidImages = None,
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Where the settings begin, as in train.", rich_help_panel=_PANEL
        ),
    ] = "standard",
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Settings as TOML, on top of the preset.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.NAME=VALUE",
            help="A single setting, on top of both; several times.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="An augmentation of your own in place of foveal's, as in train.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Show images with their boxes on one sheet, the rarest classes first.

    Of images much larger than their objects, such as scenes, a part is shown.
    """
    from foveal.data.opening import open_together
    from foveal.errors import SettingsError
    from foveal.reports.contact_sheet import make_data_sheet, side_for, write_sheet

    side = side_for(out)
    if out.exists() and not overwrite:
        raise SettingsError(f"{out}: is there already. Replace it: --overwrite.")
    needs = {
        "--anchors": anchors,
        "--valid": valid is not None,
        "--config": config is not None,
        "--set": bool(overrides),
        "--augment": augment is not None,
    }
    if not as_trained and any(needs.values()):
        named = next(name for name, given in needs.items() if given)
        raise SettingsError(f"{named} says how training sees the images: add --as-trained.")
    if as_trained and classes:
        raise SettingsError(
            "--class chooses images, and --as-trained shows those that training begins with. Give "
            "one of them."
        )
    sources = with_valid(data, options, valid=valid, valid_images=valid_images)
    dataset, *others = open_together(sources)
    if dry_run:
        what = "batches as training would see them" if as_trained else "images"
        reads = [data] if valid is None else [data, valid]
        return Plan(reads, [out], steps=[f"draw {what}, {count} at the most"])
    if as_trained:
        sheet = _as_trained(
            dataset,
            held_out=others[0] if others else None,
            count=count,
            side=side * 3 // 2 if anchors else side,  # their dots lie near to one another
            anchors=anchors,
            preset=preset,
            config=config,
            overrides=overrides or [],
            augment=augment,
        )
    else:
        sheet = make_data_sheet(dataset, count=count, classes=classes or (), seed=seed, side=side)
    write_sheet(out, sheet)
    shown = Shown(
        out,
        as_trained,
        len(sheet.tiles),
        sheet.images,
        sheet.lines,
        tuple(ClassShown(*each) for each in sheet.classes),
        sheet.left_out,
    )
    outcome = Outcome.PARTLY_DONE if sheet.left_out else Outcome.DONE
    return Answer(shown, tell=lambda: _tell(shown), outcome=outcome)


def _tell(shown: Shown) -> None:
    for line in shown.said:
        say(line)
    say(f"Wrote {shown.file}")


def _as_trained(
    dataset: Dataset,
    *,
    held_out: Dataset | None,
    count: int,
    side: int,
    anchors: bool,
    preset: str,
    config: Path | None,
    overrides: list[str],
    augment: str | None,
) -> ContactSheet:
    """The sheet of the first batches that `foveal train` would make of the same options."""
    from foveal.config import make_settings
    from foveal.data.transforms.user import load_augmentation
    from foveal.reports.contact_sheet import make_training_sheet
    from foveal.training.checked_data import check_training
    from foveal.training.reporters import LoggingReporter
    from foveal.training.shown_batches import ShownBatches
    from foveal.training.validation import split_off_validation
    from foveal.tuning.data_defaults import fit_to_data

    changes = list(overrides)
    if augment is not None:
        load_augmentation(augment)
        changes.append(f"augmentation.custom={augment}")
    settings, _ = fit_to_data(make_settings(preset=preset, file=config, overrides=changes), dataset)
    lines: list[str] = []
    if held_out is None:
        fraction, seed = settings.training.validation_fraction, settings.training.seed
        whole = len(dataset)
        dataset, valid = split_off_validation(
            dataset, fraction=fraction, seed=seed, reporter=LoggingReporter()
        )
        lines.append(
            f"{len(valid):,} of {counted(whole, 'image')} {'is' if len(valid) == 1 else 'are'} "
            f"held out to validate with (seed {seed}) and not among these; --valid DATA gives "
            "others."
        )
    bad_images = settings.training.bad_images
    dataset = check_training(dataset, bad_images=bad_images, reporter=LoggingReporter())
    batches = ShownBatches(settings, dataset, anchors=anchors)
    return make_training_sheet(batches, dataset, count=count, side=side, lines=lines)

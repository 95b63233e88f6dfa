"""`foveal predict`: find objects in images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from foveal.cli.band_range import BandRange, with_band_range
from foveal.cli.console import say
from foveal.cli.progress import progress_bar
from foveal.errors import MissingExtraError, SettingsError
from foveal.files import writing
from foveal.text import counted

if TYPE_CHECKING:
    from foveal.data.images.missing import MissingExtras
    from foveal.errors import ImageError
    from foveal.inference.image_paths import ImageFile
    from foveal.inference.predictor import Predictor
    from foveal.structures import Detections

Precision = Literal["auto", "float32", "bf16"]

_ANOTHER = "Choose another --out."
_PICTURES = "pictures"
_TABLES = ("detections.json", "detections.csv", "counts.csv")


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A model file (.safetensors), an exported model (.xml, .onnx), or the folder of a "
            "run, of which the fastest file for this machine is taken.",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGES", help="Images, folders or globs.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder for pictures and tables.")
    ],
    score_threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="The least score of a detection; without it the model's own: chosen on validation "
            "data, else 0.3.",
            show_default=False,
        ),
    ] = None,
    nms: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Overlap (IoU) above which the lesser of two goes; without it the model's own.",
        ),
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many detections of an image at most; without it the model's own, which "
            "follows the images that it was trained on.",
        ),
    ] = None,
    class_agnostic: Annotated[
        bool | None,
        typer.Option(
            "--class-agnostic/--per-class",
            help="NMS over all classes together, or in each class; without it the model's own.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images in one pass.")] = 8,
    flip: Annotated[bool, typer.Option("--flip", help="Look at mirrored images too.")] = False,
    scales: Annotated[
        str,
        typer.Option(
            metavar="S,S,...", help="Scales to look at, such as 0.8,1,1.25; all are merged."
        ),
    ] = "1",
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps.")
    ] = "auto",
    precision: Annotated[
        Precision,
        typer.Option(help="What to compute in; auto: what is fastest here."),
    ] = "auto",
    page: Annotated[
        str,
        typer.Option(
            metavar="N|all",
            help="Of files of several pages or frames, such as stacks: this one, counted from 1, "
            "or all, each as an image.",
        ),
    ] = "all",
    band_range: BandRange = None,
    pictures: Annotated[bool, typer.Option(help="Draw what was found.")] = True,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Remove what an earlier run wrote into --out, and write anew."
        ),
    ] = False,
) -> None:
    """Find objects in images: pictures, detections.json (COCO), detections.csv and counts.csv.

    An image that can't be read is named and left out; then the exit code is 1. A folder with an
    earlier run's results is refused without --overwrite, so that results are never mixed.
    """
    from foveal.data.images.missing import MissingExtras
    from foveal.inference.explain import explain_nothing
    from foveal.inference.image_paths import find_images, open_stacks
    from foveal.outputs.capped import describe_capped
    from foveal.outputs.result_folder import ResultFolder

    found, stacks = open_stacks(find_images(images, leave_out=out), _parse_page(page))
    files = found.images
    for line in (found.describe_passed_over(), stacks):
        if line:
            say(line)
    results = ResultFolder(out, "predict", _TABLES)
    drawn = [f"{_PICTURES}/{file.picture.as_posix()}" for file in files] if pictures else []
    results.check(overwrite=overwrite, more=drawn, inputs=[file.path for file in files])
    with writing(out, advice=_ANOTHER):
        out.mkdir(parents=True, exist_ok=True)
    predictor, decodes_inside = _predictor(
        model,
        score_threshold=score_threshold,
        nms_iou=nms,
        max_detections=max_detections,
        class_agnostic=class_agnostic,
        device=device,
        batch=batch,
        flip=flip,
        scales=_parse_scales(scales),
        precision=precision,
    )
    predictor = _with_depth(predictor, files, band_range)
    missing = MissingExtras()
    results.begin(drawn)
    folder = out / _PICTURES if pictures else None
    detections = _detect(predictor, files, pictures=folder, missing=missing)
    for line in missing.sentences():
        say(line, stderr=True)
    _write(detections, out)
    results.record([name for name in drawn if (out / name).is_file()])
    _summarize(detections, out, pictures=pictures)
    capped = describe_capped(
        detections, max_detections=predictor.max_detections, decodes_inside=decodes_inside
    )
    if capped:
        say(capped)
    if detections and not any(map(len, detections)):
        say(explain_nothing(predictor, [str(each.path) for each in detections]))
    broken = len(files) - len(detections)
    if broken:
        say(f"{broken} of {counted(len(files), 'image')} can't be read: named above.", stderr=True)
        raise typer.Exit(1)


def _predictor(
    path: Path,
    *,
    score_threshold: float | None,
    nms_iou: float | None,
    max_detections: int | None,
    class_agnostic: bool | None,
    device: str,
    batch: int,
    flip: bool,
    scales: tuple[float, ...],
    precision: Precision,
) -> tuple[Predictor, bool]:
    """What finds the objects, and whether decoding and NMS are inside the model's file."""
    from foveal.inference.opening import open_model

    opened = open_model(path, device=device, precision=precision)
    if score_threshold is None:
        card = opened.description.card
        where = "chosen on validation data" if card.threshold_is_chosen else "by default"
        say(
            f"Score threshold {card.score_threshold:.3g}, {where} (--score-threshold sets another)."
        )
    predictor = opened.predictor(
        score_threshold=score_threshold,
        nms_iou=nms_iou,
        max_detections=max_detections,
        class_agnostic=class_agnostic,
    )
    predictor = replace(predictor, batch=batch, flip=flip, scales=scales)
    return predictor, opened.decodes_inside


def _with_depth(predictor: Predictor, files: list[ImageFile], band_range: str | None) -> Predictor:
    """The predictor with the range of values of images of more than 8 bits, which it says."""
    from foveal.data.images.survey import settle_depth

    predictor = with_band_range(predictor, band_range)
    pixel_range, chosen = settle_depth([file.path for file in files], predictor.pixel_range)
    if chosen:
        say(chosen)
    return replace(predictor, pixel_range=pixel_range)


def _parse_page(text: str) -> int | None:
    """The page, counted from 1; None for all."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"--page {text}: expected a number from 1, or all.")
    return int(text)


def _parse_scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0.1 <= scale <= 10 for scale in scales):
        raise SettingsError(
            f"--scales {text}: expected numbers from 0.1 to 10, such as 0.8,1,1.25."
        )
    return scales


def _detect(
    predictor: Predictor,
    files: list[ImageFile],
    *,
    pictures: Path | None,
    missing: MissingExtras,
) -> list[Detections]:
    """What was found in each image that can be read, in the files' order; draws it too."""
    from foveal.outputs.pictures import write_picture

    detections: dict[int, Detections] = {}
    with progress_bar(len(files)) as bar:

        def skip(_index: int, error: ImageError | MissingExtraError) -> None:
            if isinstance(error, MissingExtraError):
                missing.add(error)
            else:
                bar.say(f"skipped: {error}")
            bar.advance()

        paths = [file.path for file in files]
        for each in predictor.stream(paths, keep_pixels=pictures is not None, on_error=skip):
            detections[each.index] = each.detections
            if pictures is not None and each.pixels is not None:
                path = pictures / files[each.index].picture
                write_picture(path, each.pixels, each.detections, advice=_ANOTHER)
            bar.advance()
    return [detections[index] for index in sorted(detections)]


def _write(detections: list[Detections], out: Path) -> None:
    from foveal.outputs.files import write_coco, write_counts, write_csv

    for name, write in zip(_TABLES, (write_coco, write_csv, write_counts), strict=True):
        write(out / name, detections)


def _summarize(detections: list[Detections], out: Path, *, pictures: bool) -> None:
    total = sum(map(len, detections))
    classes = detections[0].classes if detections else ()
    counts = {name: sum(each.counts()[name] for each in detections) for name in classes}
    of_class = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    images = counted(len(detections), "image")
    say(f"{total} found in {images}" + (f": {of_class}." if total else "."))
    written = list(_TABLES)
    if pictures and detections:
        written.insert(0, f"{_PICTURES}/")
    say(f"In {out}: {', '.join(written)}")

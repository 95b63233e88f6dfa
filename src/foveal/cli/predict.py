"""`foveal predict`: find objects in images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from foveal.cli.answers import Answer, DryRun, Plan, verb
from foveal.cli.band_range import BandRange, with_band_range
from foveal.cli.console import say
from foveal.cli.model_argument import find_model
from foveal.cli.outcomes import Outcome
from foveal.cli.predict_results import (
    PICTURES_IN_REPORT,
    REPORT,
    TABLES,
    FullPictures,
    ShownScene,
    To,
    draw_scene,
    find_places,
    map_files,
    parse_kinds,
    tables,
    write_report,
    write_results,
)
from foveal.cli.predict_scenes import (
    SceneRun,
    describe_scenes,
    detect_scenes,
    find_scenes,
    origin_of,
    plan_mosaic,
)
from foveal.cli.progress import progress_bar
from foveal.cli.scene_options import (
    Jobs,
    Mosaic,
    Overlap,
    RayAddress,
    Resume,
    Scale,
    Tile,
    Whole,
    parse_scale,
    parse_tile,
)
from foveal.errors import MissingExtraError, SettingsError
from foveal.files import writing
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from foveal.cli.predict_results import PlacedImage
    from foveal.data.images.missing import MissingExtras
    from foveal.errors import ImageError
    from foveal.inference.image_paths import ImageFile
    from foveal.inference.opening import Opened
    from foveal.inference.predictor import Predictor
    from foveal.inference.scene_plan import PlannedScene
    from foveal.inference.scene_work import SceneWork
    from foveal.structures import Detections

Precision = Literal["auto", "float32", "bf16"]

_ANOTHER = "Choose another --out."
_PICTURES = "pictures"


@dataclass(frozen=True, slots=True)
class Predicted:
    """What was found in images.

    Attributes:
        folder: where it is written.
        model: that looked at them.
        score_threshold: the least score of a detection.
        images: how many there are; a mosaic is one.
        unreadable: how many of them can't be read, and are in no file.
        detections: how many there are; null where an earlier run had finished all of it.
        per_class: how many there are of each class; null likewise.
        files: what was written, relative to the folder; pictures/ stands for all pictures.
        not_written: why files for maps were not written, a sentence each.
        notes: where counts may be too low, and why nothing was found.
    """

    folder: Path
    model: Path
    score_threshold: float
    images: int
    unreadable: int
    detections: int | None
    per_class: dict[str, int] | None
    files: tuple[str, ...]
    not_written: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@verb(
    "predict",
    Predicted,
    examples=(
        "foveal predict runs/cells smears/ --out detected",
        "foveal predict runs/ships scene.tif --out detected --scale 10cm --resume",
        "foveal predict cells.xml 'smears/*.png' --out detected --score-threshold 0.5 --json",
    ),
)
def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A model file (.safetensors), an exported model (.xml, .onnx), the folder of a "
            "run, of which the fastest file for this machine is taken, or a name in your library "
            "(foveal models).",
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
    nms_method: Annotated[
        Literal["hard", "soft_linear", "soft_gaussian"] | None,
        typer.Option(
            "--nms-method",
            help="What becomes of the lesser of two that overlap: hard removes it; soft_linear and "
            "soft_gaussian lower its score, so that more is found where objects overlap; without "
            "it the model's own.",
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
    merge: Annotated[
        Literal["nms", "fusion"],
        typer.Option(
            help="How several looks (--flip, --scales) are put together: nms keeps the best of "
            "what overlaps; fusion takes the mean of boxes and scores, so that what one look alone "
            "sees has a lower score."
        ),
    ] = "nms",
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
    full_pictures: FullPictures = False,
    to: To = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Remove what an earlier run wrote into --out, and write anew."
        ),
    ] = False,
    tile: Tile = "auto",
    overlap: Overlap = None,
    scale: Scale = "auto",
    whole: Whole = False,
    mosaic: Mosaic = False,
    resume: Resume = False,
    jobs: Jobs = None,
    ray: RayAddress = None,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Find objects in images: pictures, detections.json (COCO), detections.csv and counts.csv.

    Images with a place on the map give detections.gpkg too, for QGIS and others; scenes give
    report.html. An image that can't be read is named and left out; then the exit code is 1. A
    folder with an earlier run's results is refused without --overwrite, so that results are never
    mixed.
    """
    from foveal.data.images.missing import MissingExtras
    from foveal.inference.image_paths import find_images, open_stacks
    from foveal.inference.scene_ray import check_ray
    from foveal.inference.scene_work import FINISHED, SceneWork
    from foveal.outputs.result_folder import ResultFolder

    wanted, length, looks = parse_tile(tile), parse_scale(scale), _parse_scales(scales)
    if ray is not None:
        check_ray(ray)
    kinds = parse_kinds(to)
    found, stacks = open_stacks(find_images(images, leave_out=out), _parse_page(page))
    files = found.images
    for line in (found.describe_passed_over(), stacks):
        if line:
            say(line, stderr=True)
    results, work = ResultFolder(out, "predict", TABLES), SceneWork(out)
    named = [Path("mosaic.jpg")] if mosaic else [file.picture for file in files]
    drawn = [f"{_PICTURES}/{name.as_posix()}" for name in named] if pictures else []
    full = [str(Path(name).with_suffix(".tif")) for name in drawn] if full_pictures else []
    places = find_places(files)
    maps = map_files(kinds, places, files)
    inputs = [file.path for file in files]
    work.check(resume=resume, overwrite=overwrite)
    goes_on = resume and (work.is_begun or work.has_finished)
    results.check(
        overwrite=overwrite or goes_on, more=[*drawn, *full, *maps, REPORT], inputs=inputs
    )
    if not dry_run:
        with writing(out, advice=_ANOTHER):
            out.mkdir(parents=True, exist_ok=True)
    model = find_model(model)
    opened = _open(model, device=device, precision=precision, score_threshold=score_threshold)
    predictor = replace(
        opened.predictor(
            score_threshold=score_threshold,
            nms_iou=nms,
            max_detections=max_detections,
            class_agnostic=class_agnostic,
            nms_method=nms_method,
        ),
        batch=batch,
        merge=merge,
        flip=flip,
        scales=looks,
        tile=wanted,
        overlap=overlap,
        whole=whole,
    )
    predictor = _with_depth(predictor, files, band_range)
    unopened: dict[int, ImageError | MissingExtraError] = {}
    if mosaic:
        scenes = [plan_mosaic(predictor, files, length)]
    else:
        scenes, unopened = find_scenes(predictor, files, length)
    if not mosaic:  # a mosaic says it by itself
        elsewhere = {*unopened, *(scene.index for scene in scenes)}
        for line in places.describe(leave_out=elsewhere):
            say(line, stderr=True)
    for line in describe_scenes(scenes, predictor, places=None if mosaic else places.images):
        say(line, stderr=True)
    origin = origin_of(
        files,
        scenes,
        predictor,
        model=opened.path or model,
        options={
            "--scale": scale,
            "--mosaic": mosaic,
            "--page": page,
            "--pictures": pictures,
            "--full-pictures": full_pictures,
            "--to": to or "auto",
        },
    )
    if resume:
        work.check_origin(origin)
    expected = 1 if mosaic else len(files)
    if dry_run:
        report = [REPORT] if scenes else []
        folder = [f"{_PICTURES}/"] if drawn or full else []
        writes = [out / name for name in (*folder, *report, *tables(kinds), *maps)]
        gone = [file for file in results.present() if file not in writes]
        step = f"look for objects in {counted(expected, 'image')} with {opened.path or model}"
        return Plan([opened.path or model, *images], writes, gone if overwrite else [], [step])
    if goes_on and not work.is_begun:
        if work.is_finished(origin, [*maps, *tables(kinds)]):
            there = [name for name in (REPORT, *tables(kinds), *maps) if (out / name).is_file()]
            finished_before = Predicted(
                out,
                opened.path or model,
                predictor.score_threshold,
                images=expected,
                unreadable=0,
                detections=None,
                per_class=None,
                files=tuple(there),
            )
            said = f"{out}: is finished, of the same images, model and settings. Nothing is left."
            return Answer(finished_before, tell=lambda: say(said))
        results.check(overwrite=False, inputs=inputs)
    if overwrite:
        work.discard()
    results.begin([*drawn, *full, *maps, *([REPORT, FINISHED] if scenes else [])])
    if scenes:
        work.begin(origin)
    missing = MissingExtras()
    for error in unopened.values():
        if isinstance(error, MissingExtraError):
            missing.add(error)
        else:
            say(f"skipped: {error}", stderr=True)
    found_in = _detect_all(
        predictor,
        files,
        scenes,
        leave_out=unopened,
        run=SceneRun(opened.path or model, device, jobs=jobs, ray=ray),
        work=work,
        out=out,
        drawn=drawn,
        full=bool(full),
        maps=maps,
        places={} if mosaic else places.images,
        mosaic=mosaic,
        missing=missing,
    )
    for line in missing.sentences():
        say(line, stderr=True)
    detections = list(found_in.values())
    written, failures = write_results(
        detections, out, kinds=kinds, maps=maps, folder=_only_folder(images)
    )
    made = [name for name in (*drawn, *full) if (out / name).is_file()]
    report = [REPORT] if scenes and (out / REPORT).is_file() else []
    broken = expected - len(detections)
    finished = [FINISHED] if scenes and not (broken or failures) else []
    results.record([*made, *report, *(name for name in written if name in maps), *finished])
    if finished:
        work.finish(origin)
    notes = tuple(_explain(found_in, predictor, scenes, decodes_inside=opened.decodes_inside))
    for note in notes:
        say(note, stderr=True)
    for failure in failures:
        kept = " What was found in scenes is kept: --resume writes it." if scenes else ""
        say(f"error: {failure}{kept}", stderr=True)
    if broken:
        say(f"{broken} of {counted(expected, 'image')} can't be read: named above.", stderr=True)
    predicted = Predicted(
        out,
        opened.path or model,
        predictor.score_threshold,
        images=expected,
        unreadable=broken,
        detections=sum(map(len, detections)),
        per_class=_count(detections),
        files=(*([f"{_PICTURES}/"] if made else []), *report, *written),
        not_written=tuple(map(str, failures)),
        notes=notes,
    )
    return Answer(
        predicted,
        tell=lambda: _tell(predicted),
        outcome=Outcome.PARTLY_DONE if broken or failures else Outcome.DONE,
    )


def _open(
    path: Path, *, device: str, precision: Precision, score_threshold: float | None
) -> Opened:
    """The model; says its score threshold where no other is asked for."""
    from foveal.inference.opening import open_model

    opened = open_model(path, device=device, precision=precision)
    if score_threshold is None:
        card = opened.description.card
        where = "chosen on validation data" if card.threshold_is_chosen else "by default"
        say(
            f"Score threshold {card.score_threshold:.3g}, {where} (--score-threshold sets "
            "another).",
            stderr=True,
        )
    return opened


def _with_depth(predictor: Predictor, files: list[ImageFile], band_range: str | None) -> Predictor:
    """The predictor with the range of values of images of more than 8 bits, which it says."""
    from foveal.data.images.survey import settle_depth

    predictor = with_band_range(predictor, band_range)
    pixel_range, chosen = settle_depth([file.path for file in files], predictor.pixel_range)
    if chosen:
        say(chosen, stderr=True)
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


def _detect_all(
    predictor: Predictor,
    files: list[ImageFile],
    scenes: list[PlannedScene],
    *,
    leave_out: Collection[int],
    run: SceneRun,
    work: SceneWork,
    out: Path,
    drawn: list[str],
    full: bool,
    maps: list[str],
    places: Mapping[int, PlacedImage],
    mosaic: bool,
    missing: MissingExtras,
) -> dict[int, Detections]:
    """What was found in each image that can be read, in the files' order; draws it too."""
    in_windows = {scene.index for scene in scenes}.union(leave_out)
    others: list[int] = [] if mosaic else [n for n in range(len(files)) if n not in in_windows]
    pictures = {n: out / name for n, name in enumerate(drawn)}
    detections: dict[int, Detections] = {}
    if others:
        detections = _detect(
            replace(predictor, tile="off"), files, others, pictures=pictures, missing=missing
        )
    if scenes:
        found = detect_scenes(scenes, predictor, run=run, work=work, missing=missing)
        shown = []
        most = set(sorted(found, key=lambda n: -len(found[n][0]))[:PICTURES_IN_REPORT])
        for number, (each, summary) in found.items():
            index, picture = scenes[number].index, None
            detections[index] = each
            if index in pictures:
                picture = draw_scene(
                    pictures[index], scenes[number], each, full=full, advice=_ANOTHER
                )
            shown.append(
                ShownScene(scenes[number], each, summary, picture if number in most else None)
            )
        if shown:
            write_report(
                out / REPORT,
                shown,
                model=run.model.name,
                score_threshold=predictor.score_threshold,
                map_file=maps[0] if maps else "",
            )
    for index, each in detections.items():
        if each.georeference is None and index in places:
            detections[index] = replace(each, georeference=places[index].georeference)
    return {index: detections[index] for index in sorted(detections)}


def _detect(
    predictor: Predictor,
    files: list[ImageFile],
    chosen: list[int],
    *,
    pictures: dict[int, Path],
    missing: MissingExtras,
) -> dict[int, Detections]:
    """What was found in each of the chosen images that can be read; draws it too."""
    from foveal.outputs.pictures import write_picture

    detections: dict[int, Detections] = {}
    with progress_bar(len(chosen)) as bar:

        def skip(_position: int, error: ImageError | MissingExtraError) -> None:
            if isinstance(error, MissingExtraError):
                missing.add(error)
            else:
                bar.say(f"skipped: {error}")
            bar.advance()

        paths = [files[index].path for index in chosen]
        for each in predictor.stream(paths, keep_pixels=bool(pictures), on_error=skip, told=set()):
            index = chosen[each.index]
            detections[index] = each.detections
            if index in pictures and each.pixels is not None:
                write_picture(pictures[index], each.pixels, each.detections, advice=_ANOTHER)
            bar.advance()
    return detections


def _only_folder(named: list[str]) -> Path | None:
    """The folder that was asked for, where it is one and nothing else was."""
    folder = Path(named[0]).expanduser()
    return folder if len(named) == 1 and folder.is_dir() else None


def _count(detections: list[Detections]) -> dict[str, int]:
    """How many there are of each class."""
    classes = detections[0].classes if detections else ()
    return {name: sum(each.counts()[name] for each in detections) for name in classes}


def _tell(predicted: Predicted) -> None:
    counts = predicted.per_class or {}
    of_class = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    images = counted(predicted.images - predicted.unreadable, "image")
    say(f"{predicted.detections:,} found in {images}" + (f": {of_class}." if of_class else "."))
    say(f"In {predicted.folder}: {', '.join(predicted.files)}")


def _explain(
    detections: Mapping[int, Detections],
    predictor: Predictor,
    scenes: list[PlannedScene],
    *,
    decodes_inside: bool,
) -> Iterator[str]:
    """Say where counts may be too low, scenes aside, and why nothing was found."""
    from foveal.inference.explain import explain_nothing
    from foveal.outputs.capped import describe_capped

    large = {scene.index for scene in scenes}
    small = [each for index, each in detections.items() if index not in large]
    capped = describe_capped(
        small, max_detections=predictor.max_detections, decodes_inside=decodes_inside
    )
    if capped:
        yield capped
    if detections and not any(map(len, detections.values())):
        if small:
            whole = replace(predictor, tile="off")
            yield explain_nothing(whole, [str(each.path) for each in small])
        else:
            yield (
                f"No score reaches the threshold {predictor.score_threshold:g}. What may help: a "
                "lower --score-threshold; a --scale at which objects are as large as in training."
            )

"""Scenes among the images of `foveal predict`: found, told, looked at, and gone on with."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from foveal import __version__
from foveal.cli.console import say
from foveal.cli.predict_results import PlacedImage, describe_note, first_neighbors
from foveal.cli.progress import progress_bar
from foveal.data.images.pages import file_of
from foveal.errors import FovealError, ImageError, MissingExtraError, ModelFileError
from foveal.text import counted
from foveal.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from foveal.cli.progress import ProgressBar
    from foveal.cli.scene_options import SceneScale
    from foveal.data.images.missing import MissingExtras
    from foveal.data.images.rasters import Raster
    from foveal.inference.image_paths import ImageFile
    from foveal.inference.predictor import Predictor
    from foveal.inference.scene_jobs import BandOutcome, BandTask
    from foveal.inference.scene_plan import PlannedScene, SceneJob
    from foveal.inference.scene_work import Origin, SceneWork
    from foveal.inference.scenes import SceneSummary
    from foveal.inference.tiling import Band
    from foveal.structures import Detections


@dataclass(frozen=True, slots=True)
class SceneRun:
    """How the scenes of a run are looked at.

    Attributes:
        model: the file, or a run's folder.
        device: as it was asked for.
        jobs: processes, or actors of Ray; None leaves it to us.
        ray: the address of a Ray cluster; None computes on this machine.
    """

    model: Path
    device: str
    jobs: int | None = None
    ray: str | None = None


def find_scenes(
    predictor: Predictor, files: Sequence[ImageFile], scale: SceneScale
) -> tuple[list[PlannedScene], dict[int, ImageError | MissingExtraError]]:
    """The images that are to be looked at in windows, by their headers.

    Those without a header are left to whoever reads all others, and who then says why.

    Returns:
        The scenes; and by their numbers those that can't be opened, and why.

    Raises:
        SettingsError: windows that can't be.
    """
    broken: dict[int, ImageError | MissingExtraError] = {}

    def find(numbered: tuple[int, ImageFile]) -> PlannedScene | None:
        index, file = numbered
        try:
            return _plan(predictor, file.path, scale, index=index)
        except (ImageError, MissingExtraError) as error:
            broken[index] = error
            return None

    found = list(map_in_threads(find, list(enumerate(files))))
    return [scene for scene in found if scene is not None], dict(sorted(broken.items()))


def _plan(
    predictor: Predictor, path: Path, scale: SceneScale, *, index: int
) -> PlannedScene | None:
    from foveal.data.images.rasters import (
        georeference_of,
        is_virtual_raster,
        open_raster,
        raster_size,
    )
    from foveal.inference.scene_plan import PlannedScene

    try:
        if is_virtual_raster(path):
            size = None
        elif predictor.tile == "off":
            return None
        else:
            size = raster_size(path)
    except (ImageError, MissingExtraError, OSError):
        return None
    if size is None:  # a virtual raster, which nothing else reads, however small it is
        return plan_scene(predictor, open_raster(path, predictor.pixel_range), scale, index=index)
    width, height = size
    wants_place = predictor.card.ground_resolution is not None or scale.meters is not None
    place = georeference_of(path) if wants_place else None
    if scale.meters is not None and place is None and predictor.tiling_for(width, height) is None:
        return None
    factor = scale.factor_for(place, width=width, height=height, where=path)
    tiling = replace(predictor, tile_scale=factor).tiling_for(width, height, place)
    if tiling is None:
        return None
    with open_raster(path, predictor.pixel_range) as raster:
        return PlannedScene(raster, tiling, predictor.whole, index)


def plan_scene(
    predictor: Predictor, raster: Raster, scale: SceneScale, *, index: int = 0
) -> PlannedScene:
    """A scene that is looked at in windows, in a single one where it is small.

    Args:
        predictor: looks at it.
        raster: the scene; it is closed.
        scale: as it was asked for.
        index: its position among the images.

    Raises:
        SettingsError: windows that can't be.
    """
    from foveal.inference.scene_plan import PlannedScene

    with raster:
        factor = scale.factor_for(
            raster.georeference, width=raster.width, height=raster.height, where=raster.name
        )
        tiling = replace(predictor, tile_scale=factor).scene_tiling(raster)
        return PlannedScene(raster, tiling, predictor.whole, index)


def plan_mosaic(
    predictor: Predictor, files: Sequence[ImageFile], scale: SceneScale
) -> PlannedScene:
    """All images as one scene.

    Raises:
        ImageError: they can't be put together.
        SettingsError: windows that can't be.
    """
    from foveal.data.images.mosaics import open_mosaic

    raster = open_mosaic([file.path for file in files], predictor.pixel_range)
    return plan_scene(predictor, raster, scale)


def describe_scenes(
    scenes: Sequence[PlannedScene],
    predictor: Predictor,
    *,
    places: Mapping[int, PlacedImage] | None = None,
) -> Iterator[str]:
    """What is looked at in windows, and what should be known of the files; a line a kind.

    Args:
        scenes: of the run.
        predictor: that looks at them.
        places: of all images by their numbers, where these are not put together already.
    """
    if scenes:
        first = scenes[0]
        how = first.tiling.describe(first.raster.width, first.raster.height)
        sized = predictor.describe_object_size(first.tiling.scale, first.raster.georeference)
        if len(scenes) == 1:
            whole = "" if predictor.tile == "off" else " --tile off looks at the shrunk image."
            yield f"{Path(first.raster.name).name}: {how}{whole}"
        else:
            windows = sum(band.looks for scene in scenes for band in scene.bands(predictor))
            yield f"{Path(first.raster.name).name}: {how}"
            yield (
                f"With it {counted(len(scenes), 'scene')}, in {counted(windows, 'window')} "
                "together. --tile off looks at the shrunk images."
            )
        if sized:
            yield sized
    noted = Counter(note for scene in scenes for note in scene.raster.notes)
    for note, count in noted.items():
        where = next(scene.raster.name for scene in scenes if note in scene.raster.notes)
        yield describe_note(note, where, count)
    neighbors = None if places is None else first_neighbors(list(places.values()))
    if neighbors is not None:
        one, other = neighbors
        yield (
            f"{one.name} and {other.name} lie beside or upon each other on the map: --mosaic looks "
            "at all images as one scene, so that nothing is found twice or cut."
        )


def origin_of(
    files: Sequence[ImageFile],
    scenes: Sequence[PlannedScene],
    predictor: Predictor,
    *,
    model: Path,
    options: Mapping[str, object],
) -> Origin:
    """What the results of this run are computed from.

    Args:
        files: the images.
        scenes: those that are looked at in windows.
        predictor: as it is here.
        model: its file.
        options: names and values of what else has an influence on what is written.

    Raises:
        ImageError: a virtual raster is broken.
        ModelFileError: the model's file can't be read.
    """
    from foveal.data.images.virtual import files_of
    from foveal.inference.scene_work import Origin

    runtime = predictor.runtime
    parts = [model, model.with_suffix(".bin")] if model.suffix == ".xml" else [model]
    windows = [(each.tiling.size, each.tiling.steps, each.tiling.scale) for each in scenes]
    settings = {
        "foveal": __version__,
        "what computes": f"{runtime.name} on {runtime.device} in {runtime.precision}",
        "--score-threshold": predictor.score_threshold,
        "--nms": predictor.nms_iou,
        "--max-detections": predictor.max_detections,
        "--class-agnostic": predictor.class_agnostic,
        "--nms-method": predictor.nms_method,
        "--merge": predictor.merge,
        "--batch": predictor.batch,
        "--flip": predictor.flip,
        "--scales": ",".join(map(str, predictor.scales)),
        "--band-range": predictor.pixel_range,
        "--tile": predictor.tile,
        "--overlap": "auto" if predictor.overlap is None else predictor.overlap,
        "--whole": predictor.whole,
        **options,
        "the windows": zlib.crc32(repr(windows).encode()),
    }
    images = [
        part for scene in scenes for path in scene.raster.paths for part in files_of(file_of(path))
    ]
    paths = dict.fromkeys((*(file.path for file in files), *images))
    try:
        return Origin.of(paths, model=parts, settings=settings)
    except OSError as cause:
        raise ModelFileError(f"{model}: can't be read ({cause.strerror}).") from cause


def detect_scenes(
    scenes: Sequence[PlannedScene],
    predictor: Predictor,
    *,
    run: SceneRun,
    work: SceneWork,
    missing: MissingExtras,
) -> dict[int, tuple[Detections, SceneSummary]]:
    """What was found in each scene whose bands are all finished, and what is to be known of it.

    They are given by the scenes' numbers.

    Finished bands are kept on the disk, and are not looked at again.

    Args:
        scenes: of the run.
        predictor: as it is here.
        run: how.
        work: keeps the bands.
        missing: collects packages that are not installed.

    Raises:
        FovealError: a band can't be written, or other processes or machines can't compute.
        typer.Exit: it was stopped.
    """
    from foveal.inference.scene_jobs import BandTask
    from foveal.inference.scene_plan import SceneJob

    planned = [scene.bands(predictor) for scene in scenes]
    told = [scene.raster.notes for scene in scenes]
    done = [work.finished(number, len(bands)) for number, bands in enumerate(planned)]
    tasks = [
        BandTask(number, band.index)
        for number, bands in enumerate(planned)
        for band in bands
        if band.index not in done[number]
    ]
    total = sum(band.looks for bands in planned for band in bands)
    before = total - sum(planned[task.scene][task.band].looks for task in tasks)
    if before:
        say(
            f"{before:,} of {counted(total, 'window')} are finished, and are not looked at again.",
            stderr=True,
        )
    job = SceneJob.of(run.model, predictor, scenes, device=run.device)
    with progress_bar(total, noun="window") as bar:
        if before:
            bar.begin_at(before)
        try:
            broken = _look(job, predictor, tasks, planned, run=run, work=work, bar=bar)
        except KeyboardInterrupt:
            say(
                "Stopped. What is finished is kept: the same command with --resume goes on with "
                "it.",
                stderr=True,
            )
            raise
    for number, error in broken.items():
        if isinstance(error, MissingExtraError):
            missing.add(error)
            continue
        kept = len(work.finished(number, len(planned[number])))
        bands = counted(len(planned[number]), "band")
        more = f" {kept:,} of its {bands} are finished and kept: --resume goes on with them."
        say(f"skipped: {error}{more if kept else ''}", stderr=True)
    return _collect(scenes, predictor, planned, broken=set(broken), work=work, told=told)


def _look(
    job: SceneJob,
    predictor: Predictor,
    tasks: Sequence[BandTask],
    planned: Sequence[Sequence[Band]],
    *,
    run: SceneRun,
    work: SceneWork,
    bar: ProgressBar,
) -> dict[int, ImageError | MissingExtraError]:
    """Look at bands, keep what is found; gives the scenes that broke, and why."""
    broken: dict[int, ImageError | MissingExtraError] = {}
    together = run.ray is not None or (run.jobs or 1) > 1
    for outcome in _outcomes(job, predictor, tasks, run=run, bar=bar):
        task = outcome.task
        if outcome.error is not None:
            broken[task.scene] = outcome.error
        elif outcome.arrays is not None:
            work.write(task.scene, task.band, outcome.arrays)
            if together:
                bar.advance(planned[task.scene][task.band].looks)
    return broken


def _outcomes(
    job: SceneJob,
    predictor: Predictor,
    tasks: Sequence[BandTask],
    *,
    run: SceneRun,
    bar: ProgressBar,
) -> Iterator[BandOutcome]:
    from foveal.inference.scene_jobs import detect_in_processes, detect_one_by_one
    from foveal.inference.scene_plan import SceneWorker

    if not tasks:
        return
    if run.ray is not None:
        from foveal.inference.scene_ray import detect_on_ray

        yield from detect_on_ray(job, tasks, address=run.ray, jobs=run.jobs)
    elif run.jobs is not None and run.jobs > 1:
        yield from detect_in_processes(job, tasks, jobs=run.jobs)
    else:
        worker = SceneWorker(predictor, job.scenes)
        try:
            yield from detect_one_by_one(worker, tasks, bar.advance)
        finally:
            worker.close()


def _collect(
    scenes: Sequence[PlannedScene],
    predictor: Predictor,
    planned: Sequence[Sequence[Band]],
    *,
    broken: set[int],
    work: SceneWork,
    told: Sequence[tuple[str, ...]],
) -> dict[int, tuple[Detections, SceneSummary]]:
    """Put the bands of each scene together; what was told of the files is not told again."""
    from foveal.inference.scene_plan import put_together
    from foveal.inference.scenes import describe_summaries

    found: dict[int, tuple[Detections, SceneSummary]] = {}
    for number, scene in enumerate(scenes):
        if number in broken:
            continue
        bands = []
        for band in planned[number]:
            arrays = work.read(number, band.index)
            if arrays is None:
                raise FovealError(
                    f"{work.folder}: a finished band of {scene.raster.name} is gone or broken. "
                    "--resume looks at it again."
                )
            bands.append(arrays)
        detections, summary = put_together(scene, predictor, bands)
        if len(scene.raster.paths) > 1:  # all that its parts have in common is a folder
            folder = os.path.commonpath([path.absolute().parent for path in scene.raster.paths])
            detections = replace(detections, path=Path(folder))
        new = tuple(note for note in summary.notes if note not in told[number])
        found[number] = detections, replace(summary, notes=new)
    for line in describe_summaries([summary for _, summary in found.values()]):
        say(line, stderr=True)
    return found

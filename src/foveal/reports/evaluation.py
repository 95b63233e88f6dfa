"""The report of an evaluation: numbers, curves and pictures, in words that a biologist knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.config import Settings, to_toml
from foveal.data.transforms.preparation import make_pixel_range
from foveal.errors import FovealError
from foveal.evaluation.story import images_in_words
from foveal.outputs.result_folder import ANOTHER_FOLDER, ResultFolder
from foveal.reports.errors import curves_section, errors_section, pictures_section
from foveal.reports.html import write_report
from foveal.reports.parts import Report, Section
from foveal.reports.results import (
    classes_section,
    counting_section,
    numbers_section,
    settings_section,
    summary_section,
)
from foveal.reports.training import (
    anchors_section,
    data_section,
    training_section,
)
from foveal.structures import RGB, PixelRange
from foveal.text import counted, listed

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset
    from foveal.evaluation.results import Evaluation
    from foveal.tuning.anchor_fitting import AnchorFit

REPORT = "report.html"
_OF_A_RUN = ("config.toml", "metrics.jsonl")
"""What lies in the folder of a training run."""
_MAX_NAMES = 8

__all__ = [
    "check_evaluation_folder",
    "make_report",
    "read_history",
    "report_on_model",
    "write_evaluation_report",
]


def write_evaluation_report(
    path: Path,
    evaluation: Evaluation,
    *,
    dataset: Dataset | None = None,
    training: Dataset | None = None,
    model: str = "",
    settings: str = "",
    history: Sequence[Mapping[str, Any]] = (),
    anchors: AnchorFit | None = None,
    pictures: int = 12,
    pixel_range: PixelRange = RGB,
) -> None:
    """Write an evaluation as one HTML file that needs no network.

    Args:
        path: of the HTML file; its folder is made.
        evaluation: what to report.
        dataset: the evaluated images; without it there are no pictures and no summary of the data.
        training: the images that the model was trained on, summarized beside them.
        model: what people call the model.
        settings: the effective settings as TOML.
        history: the lines of `metrics.jsonl`, as `read_history` gives them.
        anchors: how well the anchors fit, as `foveal.tuning.anchor_fitting.fit_anchors` gives it.
        pictures: at most so many of the images with the most errors are drawn.
        pixel_range: how images are read, as for `foveal.data.images.reading.read_image`.

    Raises:
        FovealError: the file can't be written.
    """
    report = make_report(
        evaluation,
        dataset=dataset,
        training=training,
        model=model,
        settings=settings,
        history=history,
        anchors=anchors,
        hardest=pictures_section(
            evaluation,
            dataset,
            limit=pictures,
            pixel_range=pixel_range,
        ),
    )
    write_report(path, report)


def check_evaluation_folder(folder: Path, *, overwrite: bool) -> ResultFolder:
    """See whether metrics.json and report.html may be written into a folder; nothing is changed.

    Args:
        folder: it need not exist.
        overwrite: whether those of an earlier evaluation may be replaced. A training run's report
            stays.

    Returns:
        The folder, whose `record` lists them; each then replaces the earlier one at a stroke.

    Raises:
        FovealError: they may not be written; the message says what to pass.
    """
    report = folder / REPORT
    if report.exists() and any((folder / name).exists() for name in _OF_A_RUN):
        raise FovealError(
            f"{report}: is the report of the training run in this folder, so it is not replaced. "
            f"{ANOTHER_FOLDER}"
        )
    results = ResultFolder(folder, "evaluate", ("metrics.json", REPORT))
    results.check(overwrite=overwrite)
    return results


def report_on_model(
    folder: Path,
    evaluation: Evaluation,
    settings: Settings,
    *,
    dataset: Dataset,
    training: Dataset | None,
    anchors: AnchorFit | None,
    home: Path | None,
) -> None:
    """Write a model's `report.html` into a folder, with the course of its training if it is known.

    Args:
        folder: for the report; `metrics.jsonl` of the training is looked for here first.
        evaluation: what to report.
        settings: the model's.
        dataset, training, anchors: as for `write_evaluation_report`.
        home: the folder of the model's file, with a `metrics.jsonl` perhaps.

    Raises:
        FovealError: the file can't be written.
    """
    logs = [parent / "metrics.jsonl" for parent in (folder, home) if parent is not None]
    existing = [log for log in logs if log.is_file()]
    write_evaluation_report(
        folder / REPORT,
        evaluation,
        dataset=dataset,
        training=training,
        model=f"the {settings.model.backbone} RetinaNet",
        settings=to_toml(settings),
        history=read_history(existing[0]) if existing else (),
        anchors=anchors,
        pixel_range=make_pixel_range(settings.model, settings.preparation),
    )


def make_report(
    evaluation: Evaluation,
    *,
    dataset: Dataset | None,
    training: Dataset | None,
    model: str,
    settings: str,
    history: Sequence[Mapping[str, Any]],
    anchors: AnchorFit | None,
    hardest: Section | None,
) -> Report:
    """The report's sections; those without content are left out.

    Arguments as above; `hardest` shows the images with the most errors.
    """
    from foveal import __version__

    where = Path(dataset.name).name if dataset is not None and dataset.name else "the test images"
    candidates = (
        summary_section(evaluation),
        classes_section(evaluation),
        counting_section(evaluation),
        errors_section(evaluation),
        hardest,
        curves_section(evaluation),
        training_section(history),
        data_section({"evaluated": dataset, "trained on": training}),
        anchors_section(anchors),
        numbers_section(evaluation),
        settings_section(settings),
    )
    sections: list[Section] = [section for section in candidates if section is not None]
    return Report(
        title=f"How well {model or 'the model'} finds objects in {where}",
        subtitle=(
            f"{images_in_words(evaluation.images, evaluation.images_without_objects)}, "
            f"{counted(evaluation.objects, 'object')}, "
            f"classes: {listed(evaluation.classes, _MAX_NAMES)}"
        ),
        sections=sections,
        footer=f"Made by foveal {__version__}.",
    )


def read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, oldest first; a last line that was cut short is left out.

    Raises:
        FovealError: the file can't be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FovealError(f"{path}: can't be read ({error}).") from None
    rows: list[dict[str, Any]] = []
    for line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows

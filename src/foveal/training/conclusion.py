"""The end of a run: the best model's score threshold, chosen on the validation images."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from foveal.checkpoints import model_file
from foveal.checkpoints.description import describe, training_record
from foveal.checkpoints.model_page import write_model_page
from foveal.errors import FovealError
from foveal.evaluation.profile import make_profile
from foveal.machine import describe_machine
from foveal.training.provenance import measured_by
from foveal.training.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from foveal.config import Settings
    from foveal.evaluation.results import Evaluation
    from foveal.models.retinanet import RetinaNet
    from foveal.structures import ModelCard
    from foveal.training.reporters import Reporter
    from foveal.training.trainer import TrainingResult
    from foveal.training.validation import Validation


@dataclass(frozen=True, slots=True, eq=False)
class Conclusion:
    """What a run ends with.

    Attributes:
        card: the best model's, with its score threshold, metrics, epoch and profile.
        evaluation: of the best model on the validation images; None where this process writes no
            files.
        record: how the model was trained and measured, as its file has it.
    """

    card: ModelCard
    evaluation: Evaluation | None
    record: Mapping[str, Any] | None = None


@contextmanager
def keeping_run(reporter: Reporter, step: str) -> Iterator[None]:
    """Do a step after the last epoch: whatever goes wrong, the run is finished and is kept.

    Args:
        reporter: is told what failed.
        step: what is done, such as "writing the report".
    """
    try:
        yield
    except Exception as error:
        what = "" if isinstance(error, FovealError) else f"{type(error).__name__}: "
        reporter.warn(
            f"The training is finished and its model is kept, but {step} failed: {what}{error}"
        )


def conclude(
    model: RetinaNet,
    settings: Settings,
    *,
    card: ModelCard,
    result: TrainingResult,
    validation: Validation,
    record: Mapping[str, Any] | None = None,
) -> Conclusion:
    """Choose the score threshold, and write the run's best model anew with it.

    Args:
        model: with the weights of the best epoch.
        settings: of the run.
        card: of the model, as the run began.
        result: what training ended with.
        validation: of the run; it remembers what the best model detects.
        record: how the model was trained; the intervals of its numbers and its speed are added.

    Raises:
        ModelFileError: the model file can't be written.
    """
    detections = validation.detections_of(model, result.best)
    # Just above 1 stands for 'no detection should count', which a card can't say.
    score_threshold = min(1.0, validation.choose_threshold(detections))
    card = replace(
        card,
        score_threshold=score_threshold,
        threshold_is_chosen=True,
        metrics=dict(result.best),
        epoch=result.best_epoch,
        profile=make_profile(
            detections, classes=len(card.classes), score_threshold=score_threshold
        ),
    )
    if result.folder is None or not result.is_main:
        return Conclusion(card, None, record)
    best = RunFolder(result.folder).best
    kept = dict(training_record(settings) if record is None else record)
    kept |= _speed(result, validation.images, model.mean.device)
    evaluation = None
    try:
        evaluation = validation.evaluate(detections, score_threshold=card.score_threshold)
        kept["measured"] = measured_by(evaluation)
    finally:  # the threshold is worth more than what describes it
        model_file.save(best, model, settings, card, kept)
    write_model_page(best, describe(settings, card, kept))
    return Conclusion(card, evaluation, kept)


def _speed(result: TrainingResult, images: int, device: torch.device) -> dict[str, Any]:
    """How long the best epoch's validation took, and on which machine; nothing where unknown."""
    epoch = result.history[result.best_epoch - 1] if result.history else {}
    seconds = epoch.get("validation_seconds")
    if not seconds:
        return {}
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    machine = describe_machine(gpu=gpu).text
    return {"speed": {"images": images, "seconds": seconds, "machine": machine}}

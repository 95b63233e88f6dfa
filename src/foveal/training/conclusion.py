"""The end of a run: the best model's score threshold, chosen on the validation images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foveal.checkpoints import model_file
from foveal.training.run_folder import RunFolder

if TYPE_CHECKING:
    from foveal.config import Settings
    from foveal.evaluation.results import Evaluation
    from foveal.models.retinanet import RetinaNet
    from foveal.structures import ModelCard
    from foveal.training.trainer import TrainingResult
    from foveal.training.validation import Validation


@dataclass(frozen=True, slots=True, eq=False)
class Conclusion:
    """What a run ends with.

    Attributes:
        card: the best model's, with its score threshold, metrics and epoch.
        evaluation: of the best model on the validation images; None where this process writes no
            files.
    """

    card: ModelCard
    evaluation: Evaluation | None


def conclude(
    model: RetinaNet,
    settings: Settings,
    *,
    card: ModelCard,
    result: TrainingResult,
    validation: Validation,
) -> Conclusion:
    """Choose the score threshold, and write the run's best model anew with it.

    Args:
        model: with the weights of the best epoch.
        settings: of the run.
        card: of the model, as the run began.
        result: what training ended with.
        validation: of the run; it remembers what the best model detects.

    Raises:
        ModelFileError: the model file can't be written.
    """
    detections = validation.detections_of(model, result.best)
    card = replace(
        card,
        # Just above 1 stands for 'no detection should count', which a card can't say.
        score_threshold=min(1.0, validation.choose_threshold(detections)),
        threshold_is_chosen=True,
        metrics=dict(result.best),
        epoch=result.best_epoch,
    )
    if result.folder is None or not result.is_main:
        return Conclusion(card, None)
    model_file.save(RunFolder(result.folder).best, model, settings, card)
    return Conclusion(card, validation.evaluate(detections, score_threshold=card.score_threshold))

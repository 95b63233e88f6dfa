"""The end of a run: the best model's score threshold, chosen on the validation images."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foveal.checkpoints import model_file
from foveal.errors import FovealError
from foveal.evaluation.profile import make_profile
from foveal.training.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """

    card: ModelCard
    evaluation: Evaluation | None


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
        return Conclusion(card, None)
    model_file.save(RunFolder(result.folder).best, model, settings, card)
    return Conclusion(card, validation.evaluate(detections, score_threshold=card.score_threshold))

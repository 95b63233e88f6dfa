"""What a run says of itself: what is ahead, how long it takes, and whether it learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from foveal.training.budget import Pace
from foveal.training.early_signs import EarlySigns, describe_reasons, judge_epoch, likely_reasons
from foveal.training.outlook import (
    SLOW_STEPS,
    describe_pace,
    describe_rest,
    describe_run,
    describe_validation,
    describe_weights,
    enough_steps,
)

if TYPE_CHECKING:
    from foveal.config import Settings
    from foveal.data.dataset import Dataset
    from foveal.structures import Batch
    from foveal.training.metrics_log import MetricsLogger
    from foveal.training.plan import Plan
    from foveal.training.state import RunState
    from foveal.training.step import StepResult


class Announcer:
    """Says what a person wants to know while a run goes on; it decides nothing.

    Args:
        data: the training images.
        settings: of the run.
        logger: says it, in the main process alone.
        validate: measures the model, or None. What it measures on is said where it tells that, as
            `foveal.training.validation.Validation` does.
        started: whether the model begins with weights of another one.

    Attributes:
        validation_images: how many are measured on, as far as is known.
    """

    def __init__(
        self,
        data: Dataset,
        settings: Settings,
        *,
        logger: MetricsLogger,
        validate: object | None,
        started: bool,
    ) -> None:
        self.validation_images: int = getattr(validate, "images", 0)
        self._data = data
        self._settings = settings
        self._logger = logger
        self._validate = validate
        self._started = started
        self._told_time = False
        self._signs: EarlySigns | None = EarlySigns()
        self._seen = EarlySigns()

    def tell_course(
        self, plan: Plan, state: RunState, *, windows: int | None, resumed: bool, file: str
    ) -> None:
        """Say and write what is ahead: images, steps, what the best epoch is.

        Args:
            plan: of the run.
            state: where it is.
            windows: of an epoch, where it shows windows of the images.
            resumed: whether it goes on.
            file: with the best weights; '' for a run without a folder.
        """
        logger, training = self._logger, self._settings.training
        logger.begun(
            resumed=resumed,
            epochs=plan.epochs,
            steps=plan.course.steps,
            images=len(self._data),
            validation_images=self.validation_images,
        )
        self.tell_best(state)
        if resumed:
            done = f" after step {state.step} of {plan.course.steps}" if state.step else ""
            if state.epoch < plan.epochs:
                logger.say(f"The run goes on in epoch {state.epoch + 1} of {plan.epochs}{done}.")
            return
        if not self._started:
            logger.say(describe_weights(self._settings.model))
        logger.say(
            describe_run(
                self._data,
                training,
                steps=plan.course.steps,
                images=windows or 0,
                windows=windows is not None,
            )
        )
        logger.say(
            describe_validation(
                training,
                images=self.validation_images,
                without_objects=getattr(self._validate, "without_objects", 0),
                file=file,
            )
        )

    def tell_best(self, state: RunState) -> None:
        """Let the progress show the highest AP so far."""
        if state.best is not None and state.best > 0:
            self._logger.best, self._logger.best_epoch = state.best, state.best_epoch

    def look_at_step(self, result: StepResult, batch: Batch) -> None:
        """Remember of the first epoch's steps what tells whether the run learns."""
        if self._signs is None:
            return
        self._signs.look_at(batch)
        if result.applied:
            self._signs.losses.append(result.loss)
        else:
            self._signs.lost += 1

    def tell_time(self, plan: Plan, state: RunState) -> None:
        """Say once how long the steps will take, by those that were made; minutes say it before."""
        clock = self._logger.clock
        if self._told_time or plan.budget is not None:
            return
        if not enough_steps(clock.steps, clock.elapsed) and state.step < plan.epoch_steps:
            return
        self._told_time = True
        steps = plan.steps - plan.steps_done
        if not steps:
            return
        taken = clock.seconds_after(SLOW_STEPS)
        pace = Pace(taken / plan.course.cost(state.progress))
        self._logger.say(
            describe_pace(
                step=taken,
                measured=max(1, clock.steps - SLOW_STEPS),
                rest=plan.rest(pace, epochs_done=state.epoch, steps_done=state.step),
                steps=steps,
                validates=self._validate is not None,
            )
        )

    def tell_epoch(self, plan: Plan, state: RunState, summary: Mapping[str, Any]) -> None:
        """Say after the first epoch how long the rest takes, and whether the run learns."""
        signs, self._signs = self._signs, None
        self._seen = signs or self._seen
        if state.epoch:
            return
        if plan.budget is None and plan.epochs > 1:
            self._tell_rest(plan, state, summary)
        if signs is not None and signs.losses:
            self._tell_signs(signs, plan, summary)

    def reasons(self, plan: Plan) -> tuple[str, ...]:
        """Why a run that is over has learned nothing, the likeliest first."""
        found = likely_reasons(
            self._data,
            self._settings,
            self._seen,
            steps=plan.course.steps,
            total=plan.steps,
            started=self._started,
            over=True,
        )
        return tuple(found)

    def _tell_rest(self, plan: Plan, state: RunState, summary: Mapping[str, Any]) -> None:
        step = summary["seconds"] / max(1, self._logger.clock.steps)
        validation = summary.get("validation_seconds", 0.0)
        pace = Pace(step / plan.course.cost(state.progress), validation=validation)
        self._logger.say(
            describe_rest(
                epoch=1,
                seconds=summary["seconds"],
                validation=validation,
                rest=plan.rest(pace, epochs_done=1),
            )
        )

    def _tell_signs(self, signs: EarlySigns, plan: Plan, summary: Mapping[str, Any]) -> None:
        validation = summary.get("validation")
        verdict = judge_epoch(
            signs,
            ap=None if validation is None else validation["AP"],
            seen=getattr(self._validate, "seen", None),
            started=self._started,
        )
        if verdict.learns:
            self._logger.say(verdict.text)
        elif self._logger.accelerator.is_main_process:
            reasons = likely_reasons(
                self._data,
                self._settings,
                signs,
                steps=plan.epoch_steps,
                total=plan.steps,
                started=self._started,
            )
            self._logger.warn(f"{verdict.text} {describe_reasons(reasons)}")

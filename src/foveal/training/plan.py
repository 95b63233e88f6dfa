"""How many steps a run has; one with minutes plans them anew by what they really take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.distributed import broadcast
from foveal.training.budget import (
    Budget,
    Course,
    Pace,
    affordable_steps,
    describe_change,
    describe_plan,
    describe_spent,
    in_minutes,
)
from foveal.training.loaders import make_phases

if TYPE_CHECKING:
    from foveal.config import Settings
    from foveal.training.metrics_log import MetricsLogger
    from foveal.training.state import RunState

_CHANGE_WORTH_WORDS = 0.1
_STEPS_BETWEEN_PLANS = 50


class Plan:
    """The steps of a run, done and to come.

    Args:
        settings: of the run.
        state: where the run is; what is planned is kept there.
        steps: of an epoch.
        logger: is told what is planned, and says what a person should know of it.

    Attributes:
        course: what the run consists of.
        budget: the time it may take; None where its epochs are given.
    """

    def __init__(
        self, settings: Settings, state: RunState, *, steps: int, logger: MetricsLogger
    ) -> None:
        self.course = Course(
            steps,
            settings.preparation.shorter,
            evaluate_every=settings.training.evaluate_every,
            phases=make_phases(settings),
        )
        self.budget: Budget | None = None
        self._training = settings.training
        self._state = state
        self._logger = logger
        self._pace: Pace | None = None
        self._said_steps = 0
        self._tried = self._measured = 0.0
        self._goes_on = False

    @property
    def steps(self) -> int:
        """Of the whole run, as it is planned now."""
        return self._state.planned_steps or self._training.epochs * self.course.steps

    @property
    def epochs(self) -> int:
        """Of the whole run; the last one of a run with minutes may have fewer steps."""
        return -(-self.steps // max(1, self.course.steps))

    @property
    def epoch_steps(self) -> int:
        """Of the epoch under way; the last one of a run with minutes may have fewer."""
        return min(self.course.steps, self.steps - self._state.epoch * self.course.steps)

    @property
    def steps_done(self) -> int:
        """Of the whole run."""
        return self._state.epoch * self.course.steps + self._state.step

    def begin(self, try_pace: Callable[[], Pace]) -> None:
        """Plan as many steps as fit into `training.minutes`, or go on with what was planned.

        Args:
            try_pace: measures how fast the run will go.
        """
        minutes, state = self._training.minutes, self._state
        if minutes is None:
            return
        budget = self.budget = Budget(minutes, spent=state.seconds)
        self._goes_on = bool(state.planned_steps)
        if state.planned_steps:
            self._pace = Pace.from_values(state.pace)
            self._logger.say(f"{max(0.0, budget.left) / 60:.1f} of {in_minutes(minutes)} are left.")
        else:
            self._pace = try_pace()
            self._tried = budget.spent
            self._plan()
            self._logger.say(
                describe_plan(
                    minutes,
                    total=state.planned_steps,
                    steps=self.course.steps,
                    pace=self._pace,
                    over=self.rest(self._pace, epochs_done=0) - budget.left,
                )
            )
        self._said_steps = state.planned_steps
        self._logger.seconds_left = lambda: budget.left
        self._show()

    def follow_step(self) -> None:
        """Plan anew now and then in an epoch, and where it would end before all its images."""
        step = self._state.step
        if self.budget is None or step == self.course.steps:
            return
        if step == self.epoch_steps or step % _STEPS_BETWEEN_PLANS == 0:
            self._measure_steps()
            self._plan(epochs_done=self._state.epoch, steps_done=step)
            self._show()

    def follow_epoch(self, *, validates: bool) -> None:
        """Plan the epochs after the one whose steps are done; `validates`: its end is to come."""
        self._measure_steps()
        self._plan_next(validates=validates)

    def follow_validation(self, seconds: float) -> None:
        """Take into account what the end of an epoch took."""
        self._measured += seconds
        if self._pace is not None:
            self._pace = replace(self._pace, validation=seconds)
        self._plan_next()

    def describe_time(self) -> str:
        """How long a run with minutes took, in words; '' for others."""
        if self.budget is None:
            return ""
        return describe_spent(
            self.budget.minutes,
            spent=self.budget.spent,
            tried=self._tried,
            measured=self._measured,
            steps=0 if self._goes_on else min(self.steps, self.steps_done),
        )

    def rest(self, pace: Pace, *, epochs_done: int, steps_done: int = 0) -> float:
        """Seconds that what is left takes at a pace, after so many epochs and steps of the next."""
        return self.course.seconds(self.steps, pace, epochs_done=epochs_done, steps_done=steps_done)

    def keep(self) -> None:
        """Put the time and the pace of a run with minutes into its state."""
        if self.budget is not None and self._pace is not None:
            self._state.seconds, self._state.pace = self.budget.spent, self._pace.as_values()

    def _measure_steps(self) -> None:
        """Take the pace from the epoch under way: half of it, since any machine has its moods."""
        seconds = self._logger.clock.seconds_a_step
        if self._pace is not None and seconds:
            step = seconds / self.course.cost(self._state.progress)
            if self._state.epoch:
                step = (step + self._pace.step) / 2
            self._pace = replace(self._pace, step=step)

    def _plan_next(self, *, validates: bool = False) -> None:
        """Plan the steps after the epoch under way anew; `validates` it still."""
        if self.budget is None or self.epoch_steps < self.course.steps:
            return
        self._plan(epochs_done=self._state.epoch + 1, validates=validates)
        self._show()
        total, before = self._state.planned_steps, self._said_steps
        if abs(total - before) > _CHANGE_WORTH_WORDS * before:
            self._said_steps = total
            self._logger.say(describe_change(total=total, before=before, steps=self.course.steps))

    def _plan(self, *, epochs_done: int = 0, steps_done: int = 0, validates: bool = False) -> None:
        assert self.budget is not None
        assert self._pace is not None
        total = affordable_steps(
            self.budget.left - validates * self._pace.validation,
            self.course,
            self._pace,
            epochs_done=epochs_done,
            steps_done=steps_done,
        )
        self._state.planned_steps = broadcast(total)

    def _show(self) -> None:
        self._logger.epochs, self._logger.total_steps = self.epochs, self.steps

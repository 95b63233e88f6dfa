"""Training (paper, section 5.1): epochs of steps, each followed by a validation."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from foveal.acceleration.precision import NAMES, TYPES, explain_precision
from foveal.distributed import broadcast, explaining_lost_processes
from foveal.errors import TrainingDiverged, TrainingError, TrainingInterrupted
from foveal.structures import Batch, ModelCard
from foveal.text import counted
from foveal.training import budget
from foveal.training.budget import Budget, Course, Pace
from foveal.training.checkpointing import Checkpointer
from foveal.training.early_signs import (
    EarlySigns,
    describe_reasons,
    judge_epoch,
    likely_reasons,
)
from foveal.training.ending import (
    NO_ENDING,
    Ending,
    describe_best,
    describe_divergence,
    describe_failure,
    describe_last_epoch,
    describe_patience,
)
from foveal.training.launcher import launched_precision
from foveal.training.loaders import describe_phases, describe_windows, make_batches, make_phases
from foveal.training.metrics_log import MetricsLogger
from foveal.training.outlook import (
    SLOW_STEPS,
    describe_pace,
    describe_rest,
    describe_run,
    describe_validation,
    enough_steps,
)
from foveal.training.reporters import LoggingReporter, Reporter
from foveal.training.run_folder import RunFolder
from foveal.training.schedule import (
    REFERENCE_BATCH,
    frozen_stages_at,
    learning_rate_factor,
    peak_learning_rate,
)
from foveal.training.setup import (
    STEPS_WORTH_COMPILING,
    choose_compile,
    flat_settings,
    make_accelerator,
    make_train_step,
)
from foveal.training.signals import SignalHandler, StoppedError
from foveal.training.state import RunState, fingerprint_of
from foveal.training.step import StepResult, TrainStep

if TYPE_CHECKING:
    from accelerate import Accelerator

    from foveal.config import Settings, TrainingSettings
    from foveal.data.dataset import Dataset
    from foveal.data.transforms.user import Change
    from foveal.models.retinanet import RetinaNet

_FIRST_STEPS = 2
"""So many steps tried count for nothing: the first ones are slower."""
_MOST_STEPS_TRIED = 30
_MOST_SECONDS_TRIED = 20.0
_MOST_OF_MINUTES_TRIED = 0.015
_CHANGE_WORTH_WORDS = 0.1
_STEPS_BETWEEN_PLANS = 50
_MINUTES_WORTH_COMPILING = 15.0

Validate = Callable[["RetinaNet"], Mapping[str, float]]
"""Measures a model in evaluation mode; its numbers hold AP, the higher the better.

It is called in all processes at once, so that they can divide the work."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a run ended with.

    Attributes:
        history: one entry an epoch, as the `epoch` lines of metrics.jsonl.
        best_epoch: from 1; the last one where nothing was validated, or none was better than the
            others.
        best: the validation's numbers of that epoch.
        ending: why it ended.
        folder: where the run's files are; None where it had none.
        is_main: whether this is the process that writes files.
    """

    history: tuple[Mapping[str, Any], ...]
    best_epoch: int
    best: Mapping[str, float]
    folder: Path | None
    is_main: bool = True
    ending: Ending = NO_ENDING


def train(
    model: RetinaNet,
    settings: Settings,
    data: Dataset,
    *,
    out: Path | None,
    validate: Validate | None = None,
    resume: bool = False,
    overwrite: bool = False,
    reporter: Reporter | None = None,
    card: ModelCard | None = None,
    augment: Change | None = None,
    record: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train a model in place; it ends with the weights of the best epoch, on the device in use.

    Args:
        model: as built from the settings; a resumed run replaces its weights.
        settings: all of them; they are written to the run's folder.
        data: the training images.
        out: the run's folder, the same one in all processes; None keeps everything in memory.
        validate: called in every process after an epoch; the main process's numbers count.
        resume: go on where the run in `out` was stopped; where there is none, begin.
        overwrite: replace the run in `out`.
        reporter: gets each step, epoch and message.
        card: of the model files, which get the epoch and its numbers too.
        augment: changes the samples, in place of the settings' augmentation.
        record: how the model is trained, for its files; None keeps the settings.

    Raises:
        TrainingError: the run can't start, go on or be resumed.
        TrainingDiverged: losses or weights are no longer finite.
        TrainingInterrupted: a signal stopped it; its state was written.
    """
    folder = RunFolder(out) if out else None
    if resume and folder is None:
        raise TrainingError(
            "A run without a folder can't be resumed. Give the run's folder: --out RUN (in "
            "Python out=...)."
        )
    if not len(data):
        raise TrainingError("There are no images to train on.")
    listener = reporter or LoggingReporter()
    if folder and resume and not folder.can_resume:
        folder.check_fresh()
        listener.say(f"There is nothing to go on with in {folder.path}: the run begins.")
        resume = False
    elif folder:
        folder.check(resume=resume, overwrite=overwrite)
    accelerator = make_accelerator(settings.training.trackers, folder=out)
    accelerator.wait_for_everyone()
    with torch.random.fork_rng(devices=_devices(accelerator)), SignalHandler() as signals:
        run = Trainer(
            model,
            settings,
            data,
            folder=folder,
            accelerator=accelerator,
            signals=signals,
            validate=validate,
            reporter=listener,
            card=card or ModelCard(data.classes),
            augment=augment,
            record=record,
        )
        try:
            with (
                explaining_lost_processes(accelerator.num_processes),
                run.discarding_failed_start(),
            ):
                run.begin(resume=resume)
                run.go()
            return run.result()
        finally:
            run.close()


class Trainer:
    """One run: its steps, its data, its files and where it is."""

    def __init__(
        self,
        model: RetinaNet,
        settings: Settings,
        data: Dataset,
        *,
        folder: RunFolder | None,
        accelerator: Accelerator,
        signals: SignalHandler,
        validate: Validate | None,
        reporter: Reporter,
        card: ModelCard,
        augment: Change | None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        self.training = settings.training
        self.accelerator = accelerator
        self.signals = signals
        self.validate = validate
        self.batches = make_batches(settings, data, accelerator=accelerator, augment=augment)
        steps = _steps_to_expect(self.training, self.batches.steps)
        compiled, word = choose_compile(self.training.compile, accelerator.device, steps=steps)
        self.train_step: TrainStep = make_train_step(
            model, settings, classes=data.classes, accelerator=accelerator, compiled=compiled
        )
        self.checkpointer = Checkpointer(
            folder,
            settings,
            card=card,
            fingerprint=fingerprint_of(
                settings,
                classes=data.classes,
                records=data.records,
                steps=self.batches.steps,
                teacher=self.train_step.distillation.digest if self.train_step.distillation else "",
            ),
            writes=accelerator.is_main_process,
            record=record,
        )
        self.metrics_logger = MetricsLogger(
            accelerator,
            reporter,
            epochs=self.training.epochs,
            steps=self.batches.steps,
            log_every=self.training.log_every,
            distills=self.train_step.distillation is not None,
        )
        self.metrics_logger.say(word)
        if self.train_step.distillation:
            for line in self.train_step.distillation.lines:
                self.metrics_logger.say(line)
        if self.batches.windows is not None:
            self.metrics_logger.say(describe_windows(self.batches.windows, settings.preparation))
        elif self.training.sampling == "repeat_factor":
            self.metrics_logger.say(
                f"Images of rare classes come more often: {self.batches.images:,} an epoch of "
                f"{counted(len(data), 'image')} (training.repeat_threshold = "
                f"{self.training.repeat_threshold:g})."
            )
        self.metrics_logger.say(describe_phases(settings))
        self._data = data
        self.state = RunState()
        self.ending = NO_ENDING
        self.budget: Budget | None = None
        self._pace: Pace | None = None
        self._said_steps = 0
        self._told_time = False
        self._signs: EarlySigns | None = EarlySigns()

    @property
    def steps(self) -> int:
        """Of the whole run, as it is planned now."""
        return self.state.planned_steps or self.training.epochs * self.batches.steps

    @property
    def epochs(self) -> int:
        """Of the whole run; the last one of a run with minutes may have fewer steps."""
        return -(-self.steps // max(1, self.batches.steps))

    # The run ---------------------------------------------------------------------------------

    def begin(self, *, resume: bool) -> None:
        """Make the run's files, or read where it was."""
        self.state = self.checkpointer.begin(self.train_step, resume=resume)
        self.metrics_logger.say(self._continue_precision())
        self._begin_planning()
        if self.training.size_schedule and self.budget is None and not resume:
            self._try_full_size()
        self.metrics_logger.begin(
            self.checkpointer.folder.metrics if self.checkpointer.folder else None,
            keep_bytes=self.state.metrics_bytes,
            config=flat_settings(self.settings),
        )
        self._tell_course(resumed=resume)
        if not resume:
            self._save()

    def _tell_course(self, *, resumed: bool) -> None:
        """Say and write what is ahead: images, steps, what the best epoch is."""
        logger, state, folder = self.metrics_logger, self.state, self.checkpointer.folder
        images = getattr(self.validate, "images", 0)
        logger.begun(
            resumed=resumed,
            epochs=self.epochs,
            steps=self.batches.steps,
            images=len(self._data),
            validation_images=images,
        )
        self._tell_best()
        if resumed:
            done = f" after step {state.step} of {self.batches.steps}" if state.step else ""
            if state.epoch < self.epochs:
                logger.say(f"The run goes on in epoch {state.epoch + 1} of {self.epochs}{done}.")
            return
        windows = self.batches.windows
        logger.say(
            describe_run(
                self._data,
                self.training,
                steps=self.batches.steps,
                images=0 if windows is None else self.batches.images,
                windows=windows is not None,
            )
        )
        logger.say(
            describe_validation(
                self.training,
                images=images,
                without_objects=getattr(self.validate, "without_objects", 0),
                file=str(folder.best) if folder else "",
            )
        )

    def _tell_best(self) -> None:
        """Let the progress show the highest AP so far."""
        best = self.state.best
        if best is not None and best > 0:
            self.metrics_logger.best = best
            self.metrics_logger.best_epoch = self.state.best_epoch

    def _tell_time(self) -> None:
        """Say once how long the steps will take, by those that were made; minutes say it before."""
        clock, step = self.metrics_logger.clock, self.state.step
        if self._told_time or self.budget is not None:
            return
        if not enough_steps(clock.steps, clock.elapsed) and step < self._epoch_steps:
            return
        self._told_time = True
        steps = self.steps - self._steps_done
        if not steps:
            return
        taken = clock.seconds_after(SLOW_STEPS)
        pace = Pace(taken / self._course.cost(self.state.progress))
        done = {"epochs_done": self.state.epoch, "steps_done": step}
        self.metrics_logger.say(
            describe_pace(
                step=taken,
                measured=max(1, clock.steps - SLOW_STEPS),
                rest=self._course.seconds(self.steps, pace, **done),
                steps=steps,
                validates=self.validate is not None,
            )
        )

    def _tell_rest(self, summary: Mapping[str, Any]) -> None:
        """Say after the first epoch of a run how long the rest takes, by that epoch."""
        if self.budget is not None or self.state.epoch or self.epochs == 1:
            return
        step = summary["seconds"] / max(1, self.metrics_logger.clock.steps)
        validation = summary.get("validation_seconds", 0.0)
        pace = Pace(step / self._course.cost(self.state.progress), validation=validation)
        self.metrics_logger.say(
            describe_rest(
                epoch=1,
                seconds=summary["seconds"],
                validation=validation,
                rest=self._course.seconds(self.steps, pace, epochs_done=1),
            )
        )

    def _tell_signs(self, summary: Mapping[str, Any]) -> None:
        """Say after the first epoch whether the run learns, and if not, what may be the reason."""
        signs, self._signs = self._signs, None
        if self.state.epoch or signs is None or not signs.losses:
            return
        validation = summary.get("validation")
        verdict = judge_epoch(
            signs,
            ap=None if validation is None else validation["AP"],
            seen=getattr(self.validate, "seen", None),
        )
        if verdict.learns:
            self.metrics_logger.say(verdict.text)
        elif self.accelerator.is_main_process:
            reasons = likely_reasons(
                self._data,
                self.settings,
                signs,
                steps=self._epoch_steps,
                total=self.steps,
                started=bool(self.checkpointer.card.origin),
            )
            self.metrics_logger.warn(f"{verdict.text} {describe_reasons(reasons)}")

    def _continue_precision(self) -> str:
        """Compute in the precision in which the run began, and say in which and why.

        Raises:
            TrainingError: the launcher asks for another one.
        """
        chosen = NAMES[self.train_step.precision]
        wanted = launched_precision(self.training.precision)
        began = self.state.precision
        self.state.precision = began or chosen
        if began and began != chosen:
            if wanted != "auto":
                raise TrainingError(
                    f"This run began in {began} and is to go on in {wanted}. Leave out what asks "
                    "for it (accelerate launch --mixed_precision), or start another run folder."
                )
            self.train_step.precision = TYPES[began]
            return f"Computing in {began}, in which this run began."
        if not self.accelerator.is_main_process:
            return ""
        return explain_precision(wanted, self.accelerator.device)

    def go(self) -> None:
        """Train until the last epoch, or until patience is at its end; say which it was.

        Raises:
            TrainingDiverged: losses or weights are no longer finite.
        """
        began_at = self.state.epoch
        while self.state.epoch < self.epochs and not self._out_of_patience():
            self._train_epoch()
            self._finish_epoch()
        self.accelerator.wait_for_everyone()
        if self.state.history and not _is_usable(self.state.history[-1]):
            self._diverge(f"No loss was finite in the whole of epoch {self.state.epoch}.")
        self._end(trained=self.state.epoch > began_at)
        self._load_best()

    def _load_best(self) -> None:
        """Give the model the best epoch's weights; its last ones stay where none was best."""
        self.train_step.freeze_backbone(self.settings.model.frozen_stages)
        best = self.checkpointer.best_weights()
        if best is not None:
            self.train_step.model.load_state_dict(best)
        self.train_step.model.eval()

    def result(self) -> TrainingResult:
        """What the run ended with."""
        history = tuple(self.state.history)
        best = history[self.state.best_epoch - 1] if self.state.best_epoch else {}
        return TrainingResult(
            history,
            self.state.best_epoch,
            best.get("validation", {}),
            self.checkpointer.folder.path if self.checkpointer.folder else None,
            is_main=self.accelerator.is_main_process,
            ending=self.ending,
        )

    def _end(self, *, trained: bool) -> None:
        """Say and write why the run ended, and whether what is kept is worth it."""
        state = self.state
        if state.epoch < self.epochs:
            why = describe_patience(
                epoch=state.epoch, epochs=self.epochs, patience=self.training.patience
            )
        else:
            why = describe_last_epoch(epoch=state.epoch, was_finished=not trained)
        if self.budget is not None:
            why += (
                f" It took {self.budget.spent / 60:.1f} of "
                f"{budget.in_minutes(self.budget.minutes)}."
            )
        kept = describe_best(best=state.best, epoch=state.best_epoch)
        self.ending = Ending(
            "patience" if state.epoch < self.epochs else "last_epoch",
            " ".join(part for part in (why, kept) if part),
        )
        self.metrics_logger.end(self.ending, epoch=state.epoch)
        self.metrics_logger.say(self.ending.text)

    def _diverge(self, cause: str) -> NoReturn:
        """End a run whose weights can't be mended; no model of it stays that is worth nothing.

        Raises:
            TrainingDiverged: always.
        """
        state, folder = self.state, self.checkpointer.folder
        rate, usual = (
            peak_learning_rate(each, optimizer=self.training.optimizer, batch=REFERENCE_BATCH)
            for each in (self.training.learning_rate, None)
        )
        text = describe_divergence(
            cause,
            best=state.best,
            epoch=state.best_epoch,
            file=folder.best if folder else None,
            learning_rate=rate,
            usual_rate=usual,
        )
        if state.best is not None and state.best > 0:
            self._load_best()
        else:
            self.checkpointer.forget_best()
        self.metrics_logger.end(Ending("diverged", text), epoch=state.epoch)
        raise TrainingDiverged(text)

    @contextlib.contextmanager
    def discarding_failed_start(self) -> Iterator[None]:
        """Leave no files of a run that fails before it got anywhere.

        A run that was stopped, or that stopped itself after a step, leaves what it wrote.
        """
        try:
            yield
        except BaseException as error:
            started = self.state.epoch or self.state.step
            itself = started and isinstance(error, TrainingError)
            if started:
                self._tell_failure(error)
            if not (itself or isinstance(error, TrainingInterrupted)):
                self.metrics_logger.file.close()
                self.checkpointer.discard()
            raise

    def _tell_failure(self, error: BaseException) -> None:
        """Write what broke the run off, unless that was written where it happened."""
        told = isinstance(error, TrainingInterrupted | TrainingDiverged)
        if told or not isinstance(error, Exception):
            return
        text = describe_failure(error, epoch=self.state.epoch + 1, step=self.state.step)
        with contextlib.suppress(TrainingError):  # the disk may be what is full
            self.metrics_logger.end(Ending("failed", text), epoch=self.state.epoch)

    def close(self) -> None:
        """Close what is open."""
        self.batches.close()
        self.metrics_logger.close()

    # An epoch --------------------------------------------------------------------------------

    def _train_epoch(self) -> None:
        state = self.state
        if not state.step:
            done = state.epoch * self.batches.steps / max(1, self.steps)
            state.progress = max(done, state.progress)  # a longer plan turns no phase back
        self.train_step.freeze_backbone(self._frozen_stages())
        self.metrics_logger.clock.start()
        batches = self.batches.epoch(
            state.epoch,
            start_step=state.step,
            progress=state.progress,
        )
        while state.step < self._epoch_steps:
            with self.metrics_logger.clock.waiting():
                parts = self._next(batches)
            if parts is None:
                break
            learning_rate = self.learning_rate(self._steps_done)
            result = self.train_step.step(
                parts,
                learning_rate,
                number=self._steps_done,
                stop=self.signals.stop_requested,
            )
            state.step += 1
            self.metrics_logger.clock.count(sum(map(len, parts)) * self.accelerator.num_processes)
            self._count(result, parts)
            self.metrics_logger.step(
                result, epoch=state.epoch, step=state.step, learning_rate=learning_rate
            )
            self._plan_in_epoch()
            self._tell_time()
            if result.stop:
                self._stop()
            every = self.training.save_every_steps
            if every and self._steps_done % every == 0 and state.step < self._epoch_steps:
                self._save()

    def _finish_epoch(self) -> None:
        state, began = self.state, budget.now()
        summary = self._summary()
        self._measure_steps()
        self._plan_again(validates=self._is_due(state.epoch))
        last_epoch = state.epoch + 1 == self.epochs
        self.train_step.broadcast_statistics()
        if not self.train_step.is_finite():
            self.metrics_logger.epoch(summary)
            self._diverge(f"Weights are no longer finite after epoch {state.epoch + 1}.")
        usable = _is_usable(summary)
        is_best = self.validate is None and last_epoch and usable
        if self.validate and (last_epoch or self._is_due(state.epoch)):
            if usable:
                summary["validation"] = self._measure()
                is_best = self._is_better(summary["validation"])
                summary["best"] = is_best and summary["validation"]["AP"] > 0
                summary["validation_seconds"] = budget.now() - began
            else:
                state.unimproved += 1
        if is_best:
            state.best_epoch = state.epoch + 1
        self._tell_best()
        if "validation" in summary and self.metrics_logger.best is not None:
            summary["best_AP"] = self.metrics_logger.best
            summary["best_epoch"] = self.metrics_logger.best_epoch
        if usable:
            self.checkpointer.save_model(self.train_step.evaluation_model, summary, is_best=is_best)
        if "validation" in summary:
            self._measure_validation(budget.now() - began)
            self._plan_again()
        state.history.append(summary)
        self.metrics_logger.epoch(summary)
        self._tell_rest(summary)
        self._tell_signs(summary)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        self._save()

    def learning_rate(self, step: int) -> float:
        """Of the new layers at a step of the run, from 0."""
        training = self.training
        return peak_learning_rate(
            training.learning_rate, optimizer=training.optimizer, batch=training.batch
        ) * learning_rate_factor(
            step,
            schedule=training.schedule,
            steps=self.steps,
            warmup_steps=training.warmup_steps,
            warmup_factor=training.warmup_factor,
            step_fractions=training.step_epochs,
        )

    @property
    def _steps_done(self) -> int:
        return self.state.epoch * self.batches.steps + self.state.step

    def _next(self, batches: Iterator[Sequence[Batch]]) -> Sequence[Batch] | None:
        """What to compute next; None where an epoch ends early since its last images are broken."""
        try:
            return next(batches, None)
        except (RuntimeError, OSError):
            # Loading processes get the terminal's Ctrl-C too, and may end before we ask them.
            if self.signals.stop_requested and self.accelerator.num_processes == 1:
                self._stop()
            raise

    def _count(self, result: StepResult, parts: Sequence[Batch]) -> None:
        """Add a step to the epoch's sums, or name its images if it was left out.

        Raises:
            TrainingDiverged: too many steps in a row were left out.
        """
        state = self.state
        if self._signs is not None:
            self._signs.look_at(parts[0])
            if result.applied:
                self._signs.losses.append(result.loss)
            else:
                self._signs.lost += 1
        if result.applied:
            state.nonfinite_steps = 0
            state.add(classification=result.classification, box=result.box, steps=1)
            if self.train_step.distillation:
                state.add(distillation=result.distillation)
            return
        state.nonfinite_steps += 1
        state.add(nonfinite=1)
        names = self._names_everywhere(parts)
        self.metrics_logger.skipped(names, epoch=state.epoch, step=state.step)
        if state.nonfinite_steps >= self.training.max_nonfinite_steps:
            self._diverge(
                f"The loss was not finite in {state.nonfinite_steps} steps in a row "
                "(training.max_nonfinite_steps); the last images were "
                f"{', '.join(names)}."
            )

    def _names_everywhere(self, parts: Sequence[Batch]) -> list[str]:
        names = [name for part in parts for name in part.names]
        if self.accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            names = gather_object(names)
        return names

    # A run with minutes ----------------------------------------------------------------------

    def _begin_planning(self) -> None:
        """Plan as many steps as fit into `training.minutes`, or go on with what was planned."""
        minutes, state = self.training.minutes, self.state
        if minutes is None:
            return
        self.budget = Budget(minutes, spent=state.seconds)
        if state.planned_steps:
            self._pace = Pace.from_values(state.pace)
            self.metrics_logger.say(
                f"{max(0.0, self.budget.left) / 60:.1f} of {budget.in_minutes(minutes)} are left."
            )
            self._said_steps = state.planned_steps
        else:
            self._pace = self._try_pace()
            self._plan()
            self._said_steps = state.planned_steps
            self.metrics_logger.say(
                budget.describe_plan(
                    minutes,
                    total=state.planned_steps,
                    steps=self.batches.steps,
                    pace=self._pace,
                )
            )
        left = self.budget
        self.metrics_logger.seconds_left = lambda: left.left
        self._tell_plan()

    def _try_full_size(self) -> None:
        """Try a step at the size that comes last: if it fails, then before the run has begun.

        Raises:
            DeviceMemoryError: the device's memory is too small for it.
        """
        with self.train_step.trying():
            for parts in self.batches.epoch(0, progress=1.0):
                self.train_step.step(parts, 0.0)
                break

    def _try_pace(self) -> Pace:
        """How fast steps at full size go; the validation's time is a guess."""
        with self.train_step.trying():
            step = self._try_steps(1.0)
        images = getattr(self.validate, "images", 0)
        return Pace(step, validation=images * step / self.training.batch / 2)

    def _try_steps(self, progress: float) -> float:
        """Seconds that a step takes at a share of the run; inside `TrainStep.trying`."""
        assert self.budget is not None
        longest = min(_MOST_SECONDS_TRIED, _MOST_OF_MINUTES_TRIED * 60 * self.budget.minutes)
        began, ends = budget.now(), []
        batches = (
            parts
            for epoch in range(_MOST_STEPS_TRIED)
            for parts in self.batches.epoch(epoch, progress=progress)
        )
        with contextlib.closing(batches):
            for number, parts in enumerate(batches):
                taken = budget.now() - began
                enough = (
                    number + 1 >= _MOST_STEPS_TRIED
                    or (number >= 2 * _FIRST_STEPS and taken > longest)
                    or (number > 0 and taken > 2 * longest)
                )
                stop = enough or self.signals.stop_requested
                result = self.train_step.step(parts, 0.0, number=number, stop=stop)
                ends.append(budget.now())
                if result.stop:
                    break
        if len(ends) > _FIRST_STEPS:
            return max(1e-6, ends[-1] - ends[_FIRST_STEPS - 1]) / (len(ends) - _FIRST_STEPS)
        return max(1e-6, budget.now() - began) / max(1, len(ends))

    def _measure_steps(self) -> None:
        """Take the pace from the epoch under way: half of it, since any machine has its moods."""
        seconds = self.metrics_logger.clock.seconds_a_step
        if self._pace is not None and seconds:
            step = seconds / self._course.cost(self.state.progress)
            if self.state.epoch:
                step = (step + self._pace.step) / 2
            self._pace = replace(self._pace, step=step)

    def _measure_validation(self, seconds: float) -> None:
        """Take into account what the end of an epoch took."""
        if self._pace is not None:
            self._pace = replace(self._pace, validation=seconds)

    def _plan_in_epoch(self) -> None:
        """Plan anew now and then in an epoch, and where it would end before all its images."""
        step = self.state.step
        if self.budget is None or step == self.batches.steps:
            return
        if step == self._epoch_steps or step % _STEPS_BETWEEN_PLANS == 0:
            self._measure_steps()
            self._plan(epochs_done=self.state.epoch, steps_done=step)
            self._tell_plan()

    def _plan_again(self, *, validates: bool = False) -> None:
        """Plan the steps after the epoch under way anew; `validates` it still."""
        if self.budget is None or self._epoch_steps < self.batches.steps:
            return
        self._plan(epochs_done=self.state.epoch + 1, validates=validates)
        self._tell_plan()
        total, before = self.state.planned_steps, self._said_steps
        if abs(total - before) > _CHANGE_WORTH_WORDS * before:
            self._said_steps = total
            self.metrics_logger.say(
                budget.describe_change(total=total, before=before, steps=self.batches.steps)
            )

    def _plan(self, *, epochs_done: int = 0, steps_done: int = 0, validates: bool = False) -> None:
        assert self.budget is not None
        assert self._pace is not None
        total = budget.affordable_steps(
            self.budget.left - validates * self._pace.validation,
            self._course,
            self._pace,
            epochs_done=epochs_done,
            steps_done=steps_done,
        )
        self.state.planned_steps = broadcast(total)

    def _tell_plan(self) -> None:
        self.metrics_logger.epochs, self.metrics_logger.total_steps = self.epochs, self.steps

    @property
    def _course(self) -> Course:
        return Course(
            self.batches.steps,
            self.settings.preparation.shorter,
            evaluate_every=self.training.evaluate_every,
            phases=make_phases(self.settings),
        )

    @property
    def _epoch_steps(self) -> int:
        """Of the epoch under way; the last one of a run with minutes may have fewer."""
        return min(self.batches.steps, self.steps - self.state.epoch * self.batches.steps)

    def _frozen_stages(self) -> int:
        """How many of the backbone's stages are frozen in the epoch under way."""
        stages, frozen = (
            self.train_step.model.backbone.stage_count,
            self.settings.model.frozen_stages,
        )
        if self.state.epoch < self.training.unfreeze_epoch:
            return stages
        return frozen_stages_at(
            self.state.progress, shares=self.training.unfreeze, stages=stages, frozen=frozen
        )

    # Validation ------------------------------------------------------------------------------

    def _summary(self) -> dict[str, Any]:
        sums = self.state.sums
        steps = sums.get("steps", 0.0)
        names = ["classification", "box"]
        if self.train_step.distillation:
            names.append("distillation")
        losses = {name: sums[name] / steps if steps else math.nan for name in names}
        return {
            "epoch": self.state.epoch + 1,
            "steps": self._epoch_steps,
            "nonfinite_steps": int(sums.get("nonfinite", 0)),
            **losses,
            "loss": sum(losses.values()),
            "learning_rate": self.learning_rate(self._steps_done - 1),
            **self.metrics_logger.clock.summary(),
        }

    def _is_due(self, epoch: int) -> bool:
        return (epoch + 1) % self.training.evaluate_every == 0

    def _measure(self) -> dict[str, float]:
        """Validate. What was trained is not lost if that fails or a signal breaks it off."""
        assert self.validate is not None
        model = self.train_step.evaluation_model.eval()
        try:
            if self.accelerator.num_processes > 1:
                return broadcast(dict(self.validate(model)))
            with self.signals.stopping_at_once():
                return dict(self.validate(model))
        except StoppedError:
            self._stop()
        except Exception:
            self._save()
            raise

    def _is_better(self, measured: Mapping[str, float]) -> bool:
        """Compare AP with the best so far. An equal one is the best too, but tries patience.

        An epoch whose loss on the validation images is not finite is never the best.
        """
        state = self.state
        if not math.isfinite(measured.get("validation_loss", 0.0)):
            state.unimproved += 1
            return False
        value = measured["AP"] if math.isfinite(measured["AP"]) else -1.0
        before = -math.inf if state.best is None else state.best
        state.unimproved = 0 if value > before else state.unimproved + 1
        state.best = max(value, before)
        return value >= before

    def _out_of_patience(self) -> bool:
        return 0 < self.training.patience <= self.state.unimproved

    def _save(self) -> None:
        self.state.metrics_bytes = self.metrics_logger.file.position()
        if self.budget is not None and self._pace is not None:
            self.state.seconds, self.state.pace = self.budget.spent, self._pace.as_values()
        self.checkpointer.save_state(self.train_step, self.state)

    def _stop(self) -> NoReturn:
        """Write the state and end the run.

        Raises:
            TrainingInterrupted: always.
        """
        self._save()
        where = f"Stopped in epoch {self.state.epoch + 1} after step {self.state.step}"
        self.metrics_logger.end(
            Ending("interrupted", f"{where}, by a signal."), epoch=self.state.epoch
        )
        if self.checkpointer.folder is None:
            raise TrainingInterrupted(f"{where}. Without a run folder it can't be resumed.")
        raise TrainingInterrupted(
            f"{where}; the state is in {self.checkpointer.folder.state}. "
            "Go on with the same command and --resume."
        )


def _is_usable(summary: Mapping[str, Any]) -> bool:
    """Whether an epoch's weights may be kept: unless the loss of none of its steps was finite."""
    return math.isfinite(summary["loss"]) or not summary.get("nonfinite_steps")


def _steps_to_expect(training: TrainingSettings, steps: int) -> int:
    """Of a run, as far as is known before any is tried; `steps` are an epoch's."""
    if training.minutes is None:
        return training.epochs * steps
    return STEPS_WORTH_COMPILING if training.minutes >= _MINUTES_WORTH_COMPILING else 0


def _devices(accelerator: Accelerator) -> list[torch.device]:
    return [accelerator.device] if accelerator.device.type == "cuda" else []

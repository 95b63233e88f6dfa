"""Training (paper, section 5.1): epochs of steps, each followed by a validation."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from foveal.acceleration.precision import NAMES, TYPES, explain_precision
from foveal.config.without_effect import describe_without_effect
from foveal.distributed import broadcast, explaining_lost_processes
from foveal.errors import TrainingDiverged, TrainingError, TrainingInterrupted
from foveal.evaluation.story import NOTHING
from foveal.structures import Batch, ModelCard
from foveal.text import counted
from foveal.training import budget
from foveal.training.announcer import Announcer
from foveal.training.budget import Pace
from foveal.training.checkpointing import Checkpointer
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
from foveal.training.loaders import describe_phases, describe_windows, make_batches
from foveal.training.metrics_log import MetricsLogger
from foveal.training.plan import Plan
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
from foveal.training.tried_steps import try_full_size, try_pace

if TYPE_CHECKING:
    from accelerate import Accelerator

    from foveal.config import Settings, TrainingSettings
    from foveal.data.dataset import Dataset
    from foveal.data.transforms.user import Change
    from foveal.models.retinanet import RetinaNet

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
        self.metrics_logger.say(describe_without_effect(settings))
        self.announcer = Announcer(
            data,
            settings,
            logger=self.metrics_logger,
            validate=validate,
            started=bool(card.origin),
        )
        self.state = RunState()
        self.plan = self._planned()
        self.ending = NO_ENDING

    # The run ---------------------------------------------------------------------------------

    def begin(self, *, resume: bool) -> None:
        """Make the run's files, or read where it was."""
        self.state = self.checkpointer.begin(self.train_step, resume=resume)
        self.metrics_logger.say(self._continue_precision())
        self.plan = self._planned()
        self.plan.begin(self._try_pace)
        if self.training.size_schedule and self.plan.budget is None and not resume:
            try_full_size(self.train_step, self.batches)
        self.metrics_logger.begin(
            self.checkpointer.folder.metrics if self.checkpointer.folder else None,
            keep_bytes=self.state.metrics_bytes,
            config=flat_settings(self.settings),
        )
        folder = self.checkpointer.folder
        self.announcer.tell_course(
            self.plan,
            self.state,
            windows=None if self.batches.windows is None else self.batches.images,
            resumed=resume,
            file=str(folder.best) if folder else "",
        )
        if not resume:
            self._save()

    def _planned(self) -> Plan:
        return Plan(self.settings, self.state, steps=self.batches.steps, logger=self.metrics_logger)

    def _try_pace(self) -> Pace:
        return try_pace(
            self.train_step,
            self.batches,
            self.training,
            stop_requested=lambda: self.signals.stop_requested,
            validation_images=self.announcer.validation_images,
        )

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
        while self.state.epoch < self.plan.epochs and not self._out_of_patience():
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
        if state.epoch < self.plan.epochs:
            why = describe_patience(
                epoch=state.epoch, epochs=self.plan.epochs, patience=self.training.patience
            )
        else:
            why = describe_last_epoch(epoch=state.epoch, was_finished=not trained)
        reasons: tuple[str, ...] = ()
        if state.best is not None and 0 <= state.best < NOTHING:
            reasons = self.announcer.reasons(self.plan)
        kept = describe_best(best=state.best, epoch=state.best_epoch, reasons=reasons)
        self.ending = Ending(
            "patience" if state.epoch < self.plan.epochs else "last_epoch",
            " ".join(part for part in (why, self.plan.describe_time(), kept) if part),
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
            done = state.epoch * self.batches.steps / max(1, self.plan.steps)
            state.progress = max(done, state.progress)  # a longer plan turns no phase back
        self.train_step.freeze_backbone(self._frozen_stages())
        self.metrics_logger.clock.start()
        batches = self.batches.epoch(
            state.epoch,
            start_step=state.step,
            progress=state.progress,
        )
        while state.step < self.plan.epoch_steps:
            with self.metrics_logger.clock.waiting():
                parts = self._next(batches)
            if parts is None:
                break
            learning_rate = self.learning_rate(self.plan.steps_done)
            result = self.train_step.step(
                parts,
                learning_rate,
                number=self.plan.steps_done,
                stop=self.signals.stop_requested,
            )
            state.step += 1
            self.metrics_logger.clock.count(sum(map(len, parts)) * self.accelerator.num_processes)
            self._count(result, parts)
            self.metrics_logger.step(
                result, epoch=state.epoch, step=state.step, learning_rate=learning_rate
            )
            self.plan.follow_step()
            self.announcer.tell_time(self.plan, self.state)
            if result.stop:
                self._stop()
            every = self.training.save_every_steps
            if every and self.plan.steps_done % every == 0 and state.step < self.plan.epoch_steps:
                self._save()

    def _finish_epoch(self) -> None:
        state, began = self.state, budget.now()
        summary = self._summary()
        self.plan.follow_epoch(validates=self._is_due(state.epoch))
        last_epoch = state.epoch + 1 == self.plan.epochs
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
        self.announcer.tell_best(state)
        if "validation" in summary and self.metrics_logger.best is not None:
            summary["best_AP"] = self.metrics_logger.best
            summary["best_epoch"] = self.metrics_logger.best_epoch
        if usable:
            self.checkpointer.save_model(self.train_step.evaluation_model, summary, is_best=is_best)
        if "validation" in summary:
            self.plan.follow_validation(budget.now() - began)
        state.history.append(summary)
        self.metrics_logger.epoch(summary)
        self.announcer.tell_epoch(self.plan, state, summary)
        state.epoch += 1
        state.step = 0
        state.sums = {}
        self._save()

    def learning_rate(self, step: int) -> float:
        """Of the new layers at a step of the run, from 0."""
        training = self.training
        return peak_learning_rate(
            training.learning_rate, optimizer=training.optimizer, batch=training.batch
        ) * learning_rate_factor(
            step,
            schedule=training.schedule,
            steps=self.plan.steps,
            warmup_steps=training.warmup_steps,
            warmup_factor=training.warmup_factor,
            step_fractions=training.step_epochs,
        )

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
        self.announcer.look_at_step(result, parts[0])
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
            "steps": self.plan.epoch_steps,
            "nonfinite_steps": int(sums.get("nonfinite", 0)),
            **losses,
            "loss": sum(losses.values()),
            "learning_rate": self.learning_rate(self.plan.steps_done - 1),
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
        self.plan.keep()
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

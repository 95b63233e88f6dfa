"""The files of a run: its settings, its best and last model, and its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.checkpoints import model_file
from foveal.checkpoints.description import describe
from foveal.checkpoints.model_page import write_model_page
from foveal.config import to_toml
from foveal.errors import FovealError, TrainingError
from foveal.files import write_file
from foveal.training.presence import write_presence
from foveal.training.run_folder import HOW_TO_GO_ON
from foveal.training.state import (
    RunState,
    load_optimizer,
    optimizer_tensors,
    read_state,
    trained_names,
    write_state,
)

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.config import Settings
    from foveal.models.retinanet import RetinaNet
    from foveal.structures import ModelCard
    from foveal.training.run_folder import RunFolder
    from foveal.training.step import TrainStep


class Checkpointer:
    """Writes a run's files; without a folder it keeps the best weights in memory.

    Args:
        folder: the run's; None for a run without files.
        settings, card: go into the model files, the card with the epoch and its numbers.
        fingerprint: what a resumed run must have in common with this one.
        record: how the model is trained, for its files; None keeps the settings.
        writes: False in all processes but one.
    """

    def __init__(
        self,
        folder: RunFolder | None,
        settings: Settings,
        *,
        card: ModelCard,
        fingerprint: Mapping[str, Any],
        writes: bool,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.card = card
        self.fingerprint = fingerprint
        self.record = record
        self.writes = writes
        self._best: dict[str, Tensor] | None = None
        self._made: tuple[Path, ...] | None = None

    def begin(self, train_step: TrainStep, *, resume: bool) -> RunState:
        """Make the run's files, or bring the train step to where the run was.

        Raises:
            TrainingError: there is no state, it is of another run, or a file can't be written.
        """
        state = self._restore(train_step) if resume else RunState()
        if self.folder and self.writes:
            if not resume:
                self._made = self.folder.clear()
            text = to_toml(self.settings)
            write_file(self.folder.config, text, error=TrainingError, advice=HOW_TO_GO_ON)
            write_presence(self.folder)
        return state

    def discard(self) -> None:
        """Remove what `begin` made for a new run, unless an epoch or a later state was saved."""
        if self.folder and self._made is not None:
            self.folder.remove(self._made)

    def save_model(self, model: RetinaNet, summary: Mapping[str, Any], *, is_best: bool) -> None:
        """Write the last model, and the best one too where `is_best`.

        Raises:
            TrainingError: a file can't be written; the one before is still there.
        """
        if self.folder is None:
            if is_best:
                self._best = {
                    name: value.detach().cpu().clone() for name, value in model.state_dict().items()
                }
            return
        if not self.writes:
            return
        self._made = None
        if is_best:
            for file in self.folder.exported:  # of the model that was the best before
                file.unlink(missing_ok=True)
        card = replace(self.card, epoch=summary["epoch"], metrics=summary.get("validation", {}))
        try:
            for path in (self.folder.best, self.folder.last) if is_best else (self.folder.last,):
                model_file.save(path, model, self.settings, card, self.record)
            if is_best:
                write_model_page(self.folder.best, describe(self.settings, card, self.record))
        except FovealError as error:
            raise TrainingError(f"{error} Then run again with --resume.") from error

    def forget_best(self) -> None:
        """Remove the best model, since it is worth nothing."""
        self._best = None
        if self.folder is not None and self.writes:
            for file in (self.folder.best, self.folder.model_page, *self.folder.exported):
                file.unlink(missing_ok=True)

    def best_weights(self) -> dict[str, Tensor] | None:
        """The best epoch's weights; None where no epoch was the best yet."""
        if self.folder is None:
            return self._best
        if not self.folder.best.exists():
            return None
        return model_file.load(self.folder.best).model.state_dict()

    def save_state(self, train_step: TrainStep, state: RunState) -> None:
        """Write all that resuming needs.

        Raises:
            TrainingError: it can't be written; the state before is still there.
        """
        if self.folder is None or not self.writes:
            return
        tensors = _named("model", train_step.model.state_dict())
        tensors |= _named("optimizer", optimizer_tensors(train_step.optimizer))
        if train_step.distillation:
            tensors |= _named("distillation", train_step.distillation.state_dict())
        if train_step.ema:
            state.ema_updates = train_step.ema.updates
            tensors |= _named("average", train_step.ema.model.state_dict())
        write_state(self.folder.state, tensors, state, fingerprint=self.fingerprint)
        if state.epoch or state.step:
            self._made = None

    def _restore(self, train_step: TrainStep) -> RunState:
        assert self.folder is not None
        tensors, state = read_state(
            self.folder.state,
            fingerprint=self.fingerprint,
            trained=trained_names(train_step.model, train_step.optimizer),
        )
        train_step.model.load_state_dict(_part("model", tensors))
        load_optimizer(train_step.optimizer, _part("optimizer", tensors))
        if train_step.distillation:
            train_step.distillation.load_state_dict(_part("distillation", tensors))
        if train_step.ema:
            train_step.ema.model.load_state_dict(_part("average", tensors))
            train_step.ema.updates = state.ema_updates
        return state


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _part(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}

"""A run's folder: what lies where, and whether a run may start in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from foveal.checkpoints.finding import BEST, EXPORTED, LAST
from foveal.checkpoints.model_page import MODEL_PAGE
from foveal.errors import TrainingError
from foveal.files import writing
from foveal.text import listed

TRACKED_AS = "foveal"
"""The project's name for trackers, and their folder within the run's."""

_TENSORBOARD = "events.out.tfevents.*"
"""TensorBoard would show those of an earlier run in one curve with the new ones."""

HOW_TO_GO_ON = "Make room or mend the folder's permissions, then run again with --resume."
"""What to do where a file of a run can't be written."""

LEARNING_RATES = "learning_rates"
"""Name of the learning-rate finder's files, which may be in a folder before its run is."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The places of a run's files."""

    path: Path

    @property
    def config(self) -> Path:
        """The effective settings."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """One line for each logged step and for each epoch."""
        return self.path / "metrics.jsonl"

    @property
    def best(self) -> Path:
        """The model file of the best epoch."""
        return self.path / BEST

    @property
    def model_page(self) -> Path:
        """What a person should know of the best epoch's model."""
        return self.path / MODEL_PAGE

    @property
    def exported(self) -> tuple[Path, ...]:
        """The best epoch's model for OpenVINO: network and weights."""
        network = self.path / EXPORTED
        return network, network.with_suffix(".bin")

    @property
    def last(self) -> Path:
        """The model file of the last epoch."""
        return self.path / LAST

    @property
    def report(self) -> Path:
        """What the run ends with."""
        return self.path / "report.html"

    @property
    def trackers(self) -> Path:
        """Where trackers that write files, such as TensorBoard, put them."""
        return self.path / TRACKED_AS

    @property
    def state(self) -> Path:
        """What resuming needs."""
        return self.path / "state" / "state.safetensors"

    @property
    def presence(self) -> Path:
        """Which process trains here; see `foveal.training.presence`."""
        return self.path / "state" / "process.json"

    @property
    def can_resume(self) -> bool:
        """Whether there is a state to go on from."""
        return self.state.is_file()

    def check_fresh(self) -> None:
        """See whether a run that finds nothing to go on with may begin here; nothing is changed.

        What else lies in the folder stays: a supervisor's log, or what a run left that was killed
        before its first state.

        Raises:
            TrainingError: there is a model, which would be lost, or the path is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise TrainingError(f"{self.path}: is a file. Expected a folder for the run.")
        for file in (self.best, self.last):
            if file.exists():
                raise TrainingError(
                    f"{file}: is a trained model, but there is no state to resume from "
                    f"({self.state}). Train on from it with --start {self.path} and another --out, "
                    "or replace it by --overwrite in place of --resume."
                )

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """See whether a run may start here; nothing is changed.

        Raises:
            TrainingError: it may not; the message says what to pass.
        """
        if self.path.exists() and not self.path.is_dir():
            raise TrainingError(f"{self.path}: is a file. Expected a folder for the run.")
        if resume or overwrite or not self.path.is_dir():
            return
        present = sorted(
            entry.name
            for entry in self.path.iterdir()
            if entry.name[0] != "." and entry.stem != LEARNING_RATES
        )
        if not present:
            return
        way_out = (
            "Go on with its run by --resume, replace it by --overwrite, or choose another folder"
            if self.state.exists() or self.config.exists()
            else "Choose another folder, or pass --overwrite to put the run beside what is there"
        )
        raise TrainingError(
            f"{self.path}: is not empty (it holds {listed(present, 4)}). {way_out}."
        )

    def clear(self) -> tuple[Path, ...]:
        """Make the folder, and remove the files of an earlier run from it, and only those.

        Returns:
            The folders that had to be made, the innermost first.

        Raises:
            TrainingError: the folder can't be written.
        """
        made = tuple(
            folder for folder in (self.path, *self.path.parents) if not os.path.lexists(folder)
        )
        advice = "Choose a folder that you may write to."
        with writing(self.path, error=TrainingError, advice=advice):
            self.path.mkdir(parents=True, exist_ok=True)
            self._remove_files()
        return made

    def remove(self, made: Sequence[Path]) -> None:
        """Take a run back that has got nowhere: its files, and the folders made for it.

        What is not the run's stays, with the folders around it.

        Args:
            made: what `clear` gave.
        """
        with suppress(OSError):
            if self.path in made:
                shutil.rmtree(self.trackers, ignore_errors=True)
            self._remove_files()
            for folder in (self.state.parent, *made):
                if folder.exists():
                    folder.rmdir()

    def _remove_files(self) -> None:
        models = (self.best, self.last, self.model_page, *self.exported)
        files = (self.config, self.metrics, self.state, self.presence, self.report)
        events = self.trackers.rglob(_TENSORBOARD) if self.trackers.is_dir() else ()
        for file in (*files, *models, *events):
            file.unlink(missing_ok=True)

"""A run's folder: what lies where, and whether a run may start in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foveal.errors import TrainingError


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
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """The model file of the last epoch."""
        return self.path / "last.safetensors"

    @property
    def state(self) -> Path:
        """What resuming needs."""
        return self.path / "state" / "state.safetensors"

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """See whether a run may start here; nothing is changed.

        Raises:
            TrainingError: it may not; the message says what to pass.
        """
        if self.path.exists() and not self.path.is_dir():
            raise TrainingError(f"{self.path}: is a file. Expected a folder for the run.")
        if resume or overwrite or not self.path.is_dir():
            return
        found = sorted(entry.name for entry in self.path.iterdir() if entry.name[0] != ".")
        if not found:
            return
        way_out = (
            "Go on with its run by --resume, replace it by --overwrite, or choose another folder"
            if self.state.exists() or self.config.exists()
            else "Choose another folder, or pass --overwrite to put the run beside what is there"
        )
        raise TrainingError(
            f"{self.path}: is not empty (it holds {', '.join(found[:4])}). {way_out}."
        )

    def clear(self) -> None:
        """Remove the files of an earlier run, and only those.

        Raises:
            TrainingError: the folder can't be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for file in (self.config, self.metrics, self.best, self.last, self.state):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise TrainingError(
                f"{self.path}: can't be written ({error.strerror}). "
                "Choose a folder that you may write to."
            ) from error

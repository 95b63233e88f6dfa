"""The trained model that a network learns from: its file, and whether it can look at the images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.checkpoints import model_file
from foveal.checkpoints.finding import network_file
from foveal.checkpoints.foreign_files import is_foreign
from foveal.checkpoints.importing import import_on_the_way
from foveal.errors import ModelFileError, SettingsError

if TYPE_CHECKING:
    from foveal.checkpoints.model_file import LoadedModel
    from foveal.models.retinanet import RetinaNet


@dataclass(frozen=True, slots=True)
class Teacher:
    """A trained model to learn from.

    Attributes:
        name: what people call it: its file.
        loaded: the network with its settings.
        digest: of the file's content; a run that goes on needs the same.
        notes: whose foreign checkpoint it is, and what was assumed of it, a sentence each.
    """

    name: str
    loaded: LoadedModel
    digest: str
    notes: tuple[str, ...] = ()

    @property
    def network(self) -> RetinaNet:
        """The network, in evaluation mode."""
        return self.loaded.model


def check_bands(teacher: Teacher, bands: int) -> None:
    """See whether a teacher can look at the images.

    Args:
        teacher: the model.
        bands: of the images.

    Raises:
        SettingsError: it is for another number of bands.
    """
    expected = len(teacher.network.mean)
    if expected != bands:
        raise SettingsError(
            f"training.teacher: {teacher.name} is for images of {expected} band(s), and here they "
            f"have {bands} (model.bands). Expected a teacher of images like these: train one with "
            f"--set model.bands={bands}."
        )


def read_teacher(path: Path | str) -> Teacher:
    """Read a model to learn from.

    Args:
        path: a model file, the folder of a run (its best model), or a checkpoint that `foveal
            import` can read.

    Raises:
        ModelFileError: it is missing, exported, or no model.
        WeightsError: it is a foreign checkpoint that can't be imported.
    """
    file = network_file(path)
    if not file.is_file():
        raise ModelFileError(
            f"training.teacher: {file}: no such file. Expected a model that foveal wrote, the "
            "folder of a run, or a checkpoint that foveal import can read (--teacher MODEL; in "
            "Python teacher=...)."
        )
    notes: tuple[str, ...] = ()
    if is_foreign(file):
        loaded, notes = import_on_the_way(file)
    else:
        loaded = model_file.load(file)
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    loaded.model.eval()
    return Teacher(str(file), loaded, digest, notes)

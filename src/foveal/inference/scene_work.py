"""Finished bands of scenes on the disk, so that a run that was killed goes on from them.

Below the folder of results stands, until the results are complete:

    unfinished/work.json                     what is computed from what
    unfinished/scene-0001/band-00012.npz     what was found in one band

and after that .foveal-finished.json, which says what the results were computed from.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.images.pages import file_of
from foveal.errors import FovealError
from foveal.files import write_file, writing
from foveal.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

log = logging.getLogger(__name__)

UNFINISHED = "unfinished"
"""The folder of finished bands below that of results."""
FINISHED = ".foveal-finished.json"
"""What the results beside it were computed from."""

_WORK = "work.json"
_OURS = re.compile(r"\.?(band-\d{5}\.npz|work\.json)(\.[a-z0-9_]{8}\.part)?")
_ANEW = "--overwrite throws the unfinished work away and begins anew"
_MAX_CHANGES = 3


@dataclass(frozen=True, slots=True)
class Origin:
    """What results are computed from: if two are equal, the results are.

    Attributes:
        files: each image, and size and time of its last change.
        model: a digest of what the model's files hold.
        settings: name and value of all that has an influence on what is found.
    """

    files: Mapping[str, tuple[int, int]]
    model: str
    settings: Mapping[str, str]

    @staticmethod
    def of(
        images: Iterable[Path], *, model: Iterable[Path], settings: Mapping[str, object]
    ) -> Origin:
        """Look at the files as they are now.

        Args:
            images: the files, or pages of them; one that is missing counts as empty.
            model: the files of the model.
            settings: names as people know them, and values.

        Raises:
            OSError: the model can't be read.
        """
        files = {str(path.absolute()): _state(file_of(path)) for path in images}
        texts = {name: str(value) for name, value in settings.items()}
        return Origin(files, _digest(model), texts)

    def changes(self, earlier: Origin) -> list[str]:
        """What is different from an earlier origin, each in a few words."""
        said = []
        for file in dict.fromkeys((*earlier.files, *self.files)):
            name = Path(file).name
            if file not in self.files:
                said.append(f"{name} is no longer among the images")
            elif file not in earlier.files:
                said.append(f"{name} is new among the images")
            elif self.files[file] != earlier.files[file]:
                said.append(f"{name} was changed")
        if list(self.files) != list(earlier.files) and not said:
            said.append("the images are in another order")
        if self.model != earlier.model:
            said.append("the model is another one")
        for name in dict.fromkeys((*earlier.settings, *self.settings)):
            before, now = earlier.settings.get(name), self.settings.get(name)
            if before != now:
                said.append(f"{name} was {before or 'not known'} and is {now or 'not known'}")
        return said

    def to_json(self) -> str:
        """As a document."""
        document = {"files": self.files, "model": self.model, "settings": self.settings}
        return json.dumps(document, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Origin:
        """Read a document back.

        Raises:
            ValueError: it is no such document.
        """
        document = json.loads(text)
        try:
            files = {
                name: (int(size), int(time)) for name, (size, time) in document["files"].items()
            }
            settings = {str(name): str(value) for name, value in document["settings"].items()}
            return Origin(files, str(document["model"]), settings)
        except (KeyError, TypeError, AttributeError) as cause:
            raise ValueError(str(cause)) from cause


@dataclass(frozen=True, slots=True)
class SceneWork:
    """The finished bands below a folder of results.

    Attributes:
        results: the folder of results; it need not exist.
    """

    results: Path

    @property
    def folder(self) -> Path:
        """Where the bands are."""
        return self.results / UNFINISHED

    @property
    def is_begun(self) -> bool:
        """Whether a run was here that did not end."""
        return (self.folder / _WORK).is_file()

    @property
    def has_finished(self) -> bool:
        """Whether results are here that say what they were computed from."""
        return (self.results / FINISHED).is_file()

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """See whether a run may begin here; nothing is changed.

        Raises:
            FovealError: an earlier run did not end, and it is neither to go on nor to be thrown
                away; or both are wanted.
        """
        if resume and overwrite:
            raise FovealError(
                "--resume goes on with unfinished work, and --overwrite throws it away. "
                "Expected one of them."
            )
        if self.is_begun and not (resume or overwrite):
            raise FovealError(
                f"{self.folder}: holds the work of a run that did not end. --resume goes on with "
                f"it; {_ANEW}."
            )

    def check_origin(self, origin: Origin) -> None:
        """See whether the unfinished work was computed from the same.

        Raises:
            FovealError: it was not; the message says what is different.
        """
        if not self.is_begun:
            return
        try:
            earlier = Origin.from_json((self.folder / _WORK).read_text("utf-8"))
        except (OSError, ValueError) as cause:
            raise FovealError(
                f"{self.folder / _WORK}: says not what the unfinished work was computed from "
                f"({str(cause).splitlines()[0][:100]}). {_ANEW}."
            ) from cause
        changes = origin.changes(earlier)
        if changes:
            raise FovealError(
                f"{self.folder}: the unfinished work can't be gone on with: "
                f"{listed(changes, _MAX_CHANGES)}. Run it with what it began with, or {_ANEW}."
            )

    def is_finished(self, origin: Origin, outputs: Sequence[str]) -> bool:
        """Whether complete results are here that were computed from the same.

        Args:
            origin: what this run would compute from.
            outputs: the files that it would write, relative to the folder.
        """
        if self.is_begun or not all((self.results / name).is_file() for name in outputs):
            return False
        try:
            return not origin.changes(
                Origin.from_json((self.results / FINISHED).read_text("utf-8"))
            )
        except (OSError, ValueError):
            return False

    def begin(self, origin: Origin) -> None:
        """Say what is computed from what; finished bands of the same stay.

        Raises:
            FovealError: the folder can't be written.
        """
        if not self.is_begun:
            self._remove_bands()
            self._forget_finished()
            write_file(self.folder / _WORK, origin.to_json())

    def finish(self, origin: Origin) -> None:
        """Remove the bands, since the results are complete.

        Raises:
            FovealError: the folder can't be written.
        """
        write_file(self.results / FINISHED, origin.to_json())
        self.discard()

    def discard(self) -> None:
        """Remove all bands, and files of ours alone.

        Raises:
            FovealError: they can't be removed.
        """
        with writing(self.folder):
            (self.folder / _WORK).unlink(missing_ok=True)
        self._remove_bands()

    def finished(self, scene: int, bands: int) -> set[int]:
        """Which of a scene's bands are there.

        Args:
            scene: its number, from 0.
            bands: how many it has.
        """
        return {band for band in range(bands) if self._path(scene, band).is_file()}

    def write(self, scene: int, band: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep what was found in a band; it is there whole or not at all.

        Args:
            scene, band: their numbers, from 0.
            arrays: by name, such as boxes [N, 4] and scores [N]; of numbers of any kind.

        Raises:
            FovealError: it can't be written; what was written before stays.
        """
        content = io.BytesIO()
        np.savez(content, **arrays)  # pyrefly: ignore[bad-argument-type]
        write_file(
            self._path(scene, band),
            content.getvalue(),
            advice="Make room, and go on with --resume: what is finished is kept.",
        )

    def read(self, scene: int, band: int) -> dict[str, NDArray[Any]] | None:
        """What was found in a band, as it was written; None where it is not there.

        A broken one is told, and removed.

        Returns:
            Arrays by name, such as boxes [N, 4] and scores [N].
        """
        path = self._path(scene, band)
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                return dict(arrays)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as cause:
            log.warning("%s: is broken (%s), and is computed again.", path, cause)
            with suppress(OSError):
                path.unlink()
            return None

    def _path(self, scene: int, band: int) -> Path:
        return self.folder / f"scene-{scene + 1:04d}" / f"band-{band:05d}.npz"

    def _forget_finished(self) -> None:
        with writing(self.results / FINISHED):
            (self.results / FINISHED).unlink(missing_ok=True)

    def _remove_bands(self) -> None:
        with writing(self.folder):
            for folder in (*self.folder.glob("scene-*"), self.folder):
                if folder.is_dir() and not folder.is_symlink():
                    for file in folder.iterdir():
                        if _OURS.fullmatch(file.name):
                            file.unlink()
                    with suppress(OSError):  # something is in it that is not ours
                        folder.rmdir()


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()

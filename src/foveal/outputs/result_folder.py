"""A folder of results: what an earlier run wrote there, and whether it may be written anew.

Each run leaves a list of the files that it writes, before the first of them: so a later run knows
what to remove, and that nothing else is touched, even where the earlier run was killed.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from foveal.errors import FovealError
from foveal.files import write_file, writing
from foveal.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LIST = ".foveal-results.json"
"""For each command the files of its last run, relative to the folder."""

ANOTHER_FOLDER = "Choose another folder: --out DIR."
_MAX_NAMES = 4


@dataclass(frozen=True, slots=True)
class ResultFolder:
    """Where a command writes its results.

    Attributes:
        path: the folder; it need not exist.
        command: what writes there: 'predict', 'evaluate'. Several commands may share a folder.
        files: what every run of it writes, relative to the folder.
    """

    path: Path
    command: str
    files: tuple[str, ...]

    def check(
        self,
        *,
        overwrite: bool,
        more: Sequence[str] = (),
        inputs: Iterable[Path] = (),
    ) -> None:
        """See whether a run may write here; nothing is changed.

        Args:
            overwrite: whether an earlier run's files may be replaced.
            more: what this run writes besides `files`. Where such a file exists that no earlier run
                wrote, it is not replaced.
            inputs: files that are read and must not be removed.

        Raises:
            FovealError: it may not; the message says what to pass. Or the folder can't be read.
        """
        with writing(self.path, advice=ANOTHER_FOLDER):
            self._check(overwrite=overwrite, more=more, inputs=inputs)

    def _check(self, *, overwrite: bool, more: Sequence[str], inputs: Iterable[Path]) -> None:
        earlier = self._earlier()
        for name in more:
            if name not in earlier and (self.path / name).exists():
                raise FovealError(
                    f"{self.path / name}: is not in the list of what foveal {self.command} wrote "
                    f"({LIST}), so it is not replaced. Move it away, or choose another folder: "
                    "--out DIR."
                )
        present = self.present()
        if present and not overwrite:
            names = [file.relative_to(self.path).as_posix() for file in present]
            raise FovealError(
                f"{self.path}: holds results of an earlier run ({listed(names, _MAX_NAMES)}). "
                "Replace them by --overwrite (in Python overwrite=True), or choose another folder: "
                "--out DIR."
            )
        removed = {file.resolve() for file in present}
        for file in inputs:
            if removed and file.resolve() in removed:
                raise FovealError(
                    f"{file}: is to be read, and --overwrite would remove it. {ANOTHER_FOLDER}"
                )

    def present(self) -> list[Path]:
        """The files of an earlier run that are here: what `begin` removes."""
        names = dict.fromkeys((*self.files, *self._earlier()))
        return [self.path / name for name in names if self._has(name)]

    def begin(self, more: Sequence[str] = ()) -> None:
        """Make the folder, remove an earlier run's files and those alone, and list this run's.

        Args:
            more: what is written besides `files`, relative to the folder.

        Raises:
            FovealError: the folder can't be written.
        """
        with writing(self.path, advice=ANOTHER_FOLDER):
            self.path.mkdir(parents=True, exist_ok=True)
            removed = [self.path / name for name in (*self.files, *self._earlier())]
            for file in removed:
                if file.is_file() or file.is_symlink():
                    file.unlink()
            self._remove_empty({file.parent for file in removed})
        self.record(more)

    def record(self, more: Sequence[str] = ()) -> None:
        """List what this run writes, or has written where it became less than planned.

        Args:
            more: what is written besides `files`, relative to the folder.

        Raises:
            FovealError: the folder can't be written.
        """
        written = self._lists() | {self.command: [*self.files, *more]}
        text = json.dumps(written, ensure_ascii=False, indent=1)
        write_file(self.path / LIST, text + "\n", advice=ANOTHER_FOLDER)

    def _remove_empty(self, folders: set[Path]) -> None:
        """Remove folders below this one that hold nothing any more, the innermost first."""
        below = {
            each
            for folder in folders
            for each in (folder, *folder.parents)
            if each != self.path and each.is_relative_to(self.path)
        }
        for folder in sorted(below, key=lambda each: -len(each.parts)):
            with suppress(OSError):
                folder.rmdir()

    def _earlier(self) -> dict[str, None]:
        """What an earlier run listed, in its order; nothing that lies outside the folder."""
        names = self._lists().get(self.command, ())
        return dict.fromkeys(name for name in names if self._is_inside(name))

    def _lists(self) -> dict[str, Any]:
        try:
            lists = json.loads((self.path / LIST).read_text("utf-8", "surrogateescape"))
        except (OSError, ValueError):
            return {}
        if not isinstance(lists, dict):
            return {}
        return {command: names for command, names in lists.items() if isinstance(names, list)}

    def _is_inside(self, name: Any) -> bool:
        if not isinstance(name, str) or PurePosixPath(name).is_absolute():
            return False
        return (self.path / name).parent.resolve().is_relative_to(self.path.resolve())

    def _has(self, name: str) -> bool:
        file = self.path / name
        return file.is_file() or file.is_symlink()

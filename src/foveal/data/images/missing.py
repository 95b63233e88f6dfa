"""Packages that images need and that are not installed: said once each, not for every image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foveal.errors import MissingExtraError


class MissingExtras:
    """Collects what images need, and says each with the line that installs it."""

    def __init__(self) -> None:
        self._needing: dict[str, list[str]] = {}

    def add(self, error: MissingExtraError) -> None:
        """Note what an image lacks."""
        self._needing.setdefault(error.line, []).append(error.needed_by)

    def __len__(self) -> int:
        """How many images lack something."""
        return sum(map(len, self._needing.values()))

    def __iter__(self) -> Iterator[tuple[str, list[str]]]:
        """What is missing, with the line that installs it, and the files that need it."""
        return iter(self._needing.items())

    def sentences(self) -> list[str]:
        """One for each package: 3 images can't be read, the first of them a.HEIC. ..."""
        said = []
        for line, files in self._needing.items():
            if len(files) == 1:
                said.append(f"{files[0]} can't be read. {line}")
            else:
                count = counted(len(files), "image")
                said.append(f"{count} can't be read, the first of them {files[0]}. {line}")
        return said

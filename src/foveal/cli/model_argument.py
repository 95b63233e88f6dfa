"""The MODEL of a command: a file, a folder, or a name in the library, which is said then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.cli.console import say

if TYPE_CHECKING:
    from pathlib import Path


def find_model(model: Path) -> Path:
    """The file or folder that is meant.

    Args:
        model: what people typed. What is there under that path comes before the library.
    """
    from foveal.checkpoints.library import resolve_model

    found = resolve_model(model)
    if found != model:
        say(f"Model {model} is {found}, of your library.", stderr=True)
    return found

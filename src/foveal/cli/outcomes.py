"""How a command ends: the exit codes, and which error is which, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from foveal.errors import (
    FovealError,
    MissingExtraError,
    TrainingDiverged,
    TrainingInterrupted,
)

PACKAGES = {
    "PIL": "pillow",
    "accelerate": "accelerate",
    "cv2": "opencv-python-headless",
    "defusedxml": "defusedxml",
    "jinja2": "jinja2",
    "markupsafe": "markupsafe",
    "matplotlib": "matplotlib",
    "nncf": "nncf",
    "numpy": "numpy",
    "openvino": "openvino",
    "psutil": "psutil",
    "pydantic": "pydantic",
    "rich": "rich",
    "safetensors": "safetensors",
    "timm": "timm",
    "tomli_w": "tomli-w",
    "torch": "torch",
    "torchvision": "torchvision",
    "typer": "typer",
    "yaml": "pyyaml",
}
"""What foveal depends on, by the names that are imported. Small devices do without some of them."""


class Outcome(Enum):
    """How a command ended: the word that its JSON says, its exit code, and what it means."""

    DONE = "done", 0, "done"
    PARTLY_DONE = "partly_done", 1, "done in part, such as without the images that can't be read"
    FAULTS = "faults", 1, "done, and it says what is wrong: with data, an export, a training"
    BAD_INPUT = "bad_input", 2, "what was given can't be used; nothing of it is half-written"
    MISSING_EXTRA = (
        "missing_extra",
        3,
        "an optional package is needed; the line installs it",
    )
    OWN_FAULT = "own_fault", 70, "a fault of foveal's own; please report it"
    INTERRUPTED = "interrupted", 130, "stopped by a signal; what was finished is kept"

    def __init__(self, word: str, code: int, meaning: str) -> None:
        self.word = word
        self.code = code
        self.meaning = meaning


def outcome_of(error: BaseException) -> Outcome:
    """How a command ends that such an error stops."""
    if isinstance(error, KeyboardInterrupt | TrainingInterrupted):
        return Outcome.INTERRUPTED
    if isinstance(error, TrainingDiverged):
        return Outcome.FAULTS
    if isinstance(error, MissingExtraError):
        return Outcome.MISSING_EXTRA
    return Outcome.BAD_INPUT if isinstance(error, FovealError) else Outcome.OWN_FAULT


@contextmanager
def naming_missing_packages() -> Iterator[None]:
    """Where a package is left out that foveal installs by itself, as on a small device, say so.

    Raises:
        MissingExtraError: one is not there. Any other module that is missing is a fault of ours.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        raise MissingExtraError(
            f"This needs the package {package}, which was left out here. Predicting with an "
            f"exported model (.xml, .onnx) needs least. Install it with: pip install {package}"
        ) from error


def describe_exit_codes() -> str:
    """All exit codes and what they mean, a line each, for help texts."""
    by_code: dict[int, list[str]] = {}
    for outcome in Outcome:
        by_code.setdefault(outcome.code, []).append(outcome.meaning)
    return "\n\n".join(f"{code}: {'; or '.join(each)}" for code, each in by_code.items())

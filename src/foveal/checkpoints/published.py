"""Checkpoints of RetinaNet that others have published: where to get them, and how good they are.

The list is `published.toml` beside this file. Nothing is downloaded. Loads no torch.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_LIST = "published.toml"

Source = Literal["torchvision", "detectron2", "mmdetection", "deepforest", "odtk", "yhenon"]


class PublishedCheckpoint(BaseModel):
    """A file that `foveal import` reads.

    Attributes:
        name: ours, for `foveal models show`.
        source: the program that it was trained with.
        backbone: timm's name of it.
        classes: K.
        training: on what it was trained, and how long.
        AP: box AP in percent as its publishers state it; None where they state none.
        measured_on: the data set of AP.
        megabytes: size of the file, 10^6 bytes; None where it is not known.
        approximate: that is the size of its tensors in float32.
        license: of the repository or page that publishes it.
        url: where the file is.
        page: where the figures stand.
        note: what else to know before importing it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    source: Source
    backbone: str
    classes: Annotated[int, Field(ge=1)]
    training: str
    AP: Annotated[float, Field(gt=0, le=100)] | None = None
    measured_on: str = "COCO val2017"
    megabytes: Annotated[float, Field(gt=0)] | None = None
    approximate: bool = False
    license: str
    url: Annotated[str, Field(pattern=r"^https://")]
    page: Annotated[str, Field(pattern=r"^https://")]
    note: str = ""

    @property
    def size(self) -> str:
        """Of the file, in words; '' where it is not known."""
        if self.megabytes is None:
            return ""
        return f"{'~' if self.approximate else ''}{self.megabytes:.0f} MB"


@cache
def published_checkpoints() -> tuple[PublishedCheckpoint, ...]:
    """All of the list, source by source."""
    text = files("foveal.checkpoints").joinpath(_LIST).read_text(encoding="utf-8")
    return tuple(
        PublishedCheckpoint.model_validate(entry) for entry in tomllib.loads(text)["checkpoint"]
    )


def find_published(name: str) -> PublishedCheckpoint | None:
    """The one of this name; None where there is none."""
    return next((entry for entry in published_checkpoints() if entry.name == name), None)

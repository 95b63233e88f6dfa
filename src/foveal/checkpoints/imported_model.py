"""What an importer is asked and what it gives: one type for all sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from foveal.checkpoints.coco_names import COCO_DETECTION_NAMES
from foveal.config import Settings, make_settings
from foveal.errors import WeightsError
from foveal.text import counted

if TYPE_CHECKING:
    from torch import Tensor

StrideIn = Literal["1x1", "3x3"]
"""Which convolution of a bottleneck block has the stride."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a person says of a foreign file; None where the importer is to find out.

    Attributes:
        classes: the names, in the order of the labels.
        backbone_stride_in: which convolution of a bottleneck block has the stride.
        background: whether the class layer has a background channel.
        overrides: `section.name=value` settings on top of those that follow from the file.
    """

    classes: tuple[str, ...] | None = None
    backbone_stride_in: StrideIn | None = None
    background: bool | None = None
    overrides: tuple[str, ...] = ()

    def settings(self, found: Sequence[str], *, preset: str = "retinanet") -> Settings:
        """The settings that follow from the file, with the person's on top.

        Args:
            found: `section.name=value` of the importer.
            preset: on which they stand.

        Raises:
            SettingsError: an override is wrong.
        """
        every = ["model.weights=none", *found, *self.overrides]
        return make_settings(preset=preset, overrides=every)

    def check_no_background(self, source: str, *, where: object) -> None:
        """See that nobody asks for a background channel where the source has none.

        Raises:
            WeightsError: somebody does.
        """
        if self.background:
            raise WeightsError(
                f"{where}: {source}'s class layers have no background channel. Leave it out, or "
                "give --no-background (in Python background=False)."
            )

    def names(self, channels: int, *, where: object) -> tuple[str, ...] | None:
        """The class names of a layer that has one channel a class and no background.

        Args:
            channels: K, of each anchor.
            where: the file, for messages.

        Returns:
            Those given; else COCO's where there are 80; else None.

        Raises:
            WeightsError: there are more or fewer names than channels.
        """
        if self.classes is None:
            return COCO_DETECTION_NAMES if channels == len(COCO_DETECTION_NAMES) else None
        if len(self.classes) != channels:
            raise WeightsError(
                f"{where}: has {counted(channels, 'class')} and there are "
                f"{counted(len(self.classes), 'name')}. Expected one name for each, in the order "
                "of the labels: --classes FILE (in Python classes=...)."
            )
        return self.classes


@dataclass(frozen=True, slots=True, eq=False)
class ImportedModel:
    """A foreign checkpoint in our terms.

    Attributes:
        settings: of the network that computes the same.
        state: its state dict in our names, nothing else in it; `mean` and `std` follow from the
            settings where they are not in it, and counters of batches may be left out.
        classes: the names; None where neither the file nor the person said them.
        notes: for people, a sentence each: what was assumed, and how to say otherwise.
        unused: tensors of the file that the network needs not, such as counters and metrics.
        foreign_name: gives the file's name for one of ours, for messages.
        origin: what follows the source's name on the model's card, such as the version.
        score_threshold: from which the source shows detections; None where it has no habit.
        scale: input pixels that one original pixel was in training; None where it is not known.
    """

    settings: Settings
    state: Mapping[str, Tensor]
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    foreign_name: Callable[[str], str] = str
    origin: str = ""
    score_threshold: float | None = None
    scale: float | None = None

"""How detectors are made of images: the same way for every part of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foveal.config import Settings, change_settings
from foveal.data.dataset import Dataset
from foveal.data.formats import read
from foveal.detector import Detector


@dataclass(frozen=True, slots=True)
class Recipe:
    """The arguments of a `Detector` but for its images.

    Attributes:
        preset, settings, start, refit_anchors, ignore: see `Detector`.
        training: settings of training by name, on top of those.
    """

    preset: str = "standard"
    settings: Settings | Mapping[str, Mapping[str, Any]] | None = None
    start: str | Path | None = None
    refit_anchors: bool = False
    ignore: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)

    def read(self, data: Dataset | str | Path) -> Dataset:
        """The images, read where they are not yet, with the classes to ignore made regions.

        Raises:
            DataError: they can't be read.
        """
        dataset = data if isinstance(data, Dataset) else read(data)
        present = [name for name in self.ignore if name in dataset.classes]
        return dataset.ignoring(present) if present else dataset

    def detector(self, data: Dataset, **training: Any) -> Detector:
        """A detector for these images, with further settings of training; nothing is trained yet.

        Raises:
            SettingsError: settings are wrong or contradict one another.
            ModelFileError: `start` is no model that can be trained.
        """
        detector = Detector(
            data,
            preset=self.preset,
            settings=self.settings,
            start=self.start,
            refit_anchors=self.refit_anchors,
            ignore=self.ignore,
        )
        detector.settings = change_settings(
            detector.settings, {"training": {**self.training, **training}}
        )
        return detector

"""Scenes of a run with their bands, ready to be looked at here or in other processes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from foveal.inference.scenes import SceneDetector, SceneSummary
from foveal.inference.tiling import BandDetections

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from foveal.data.images.rasters import Raster
    from foveal.inference.predictor import Predictor
    from foveal.inference.tiling import Band, Tiling
    from foveal.runtimes.base import Runtime, RuntimePrecision
    from foveal.structures import Detections


@dataclass(frozen=True, slots=True, eq=False)
class PlannedScene:
    """A scene and how it is cut into windows.

    Attributes:
        raster: reads it; another process opens the files again.
        tiling: its windows.
        whole: whether it is looked at once more as a whole.
        index: its position among the images.
    """

    raster: Raster
    tiling: Tiling
    whole: bool = False
    index: int = 0

    def detector(self, predictor: Predictor) -> SceneDetector:
        """What looks at it."""
        return SceneDetector(predictor, self.tiling, whole=self.whole, index=self.index)

    def bands(self, predictor: Predictor) -> tuple[Band, ...]:
        """What is finished, kept and taken up again as one each."""
        return self.detector(predictor).bands(self.raster)


@dataclass(frozen=True, slots=True, eq=False)
class SceneJob:
    """All that another process needs to look at the bands of a run's scenes.

    Attributes:
        model: the file, or a run's folder.
        predictor: as it is here, but for the runtime, which each process opens for itself.
        scenes: of the run.
        device, precision: of the runtime.
    """

    model: Path
    predictor: Predictor
    scenes: tuple[PlannedScene, ...]
    device: str = "auto"
    precision: RuntimePrecision = "auto"

    @staticmethod
    def of(
        model: Path, predictor: Predictor, scenes: Sequence[PlannedScene], *, device: str
    ) -> SceneJob:
        """The job of a predictor that is open here; others compute in the same precision.

        Args:
            model: the file, or a run's folder.
            predictor: with a runtime.
            scenes: of the run.
            device: as it was asked for.
        """
        computed = predictor.runtime.precision
        precision: RuntimePrecision = "auto"
        if computed in ("float32", "bf16"):
            precision = cast("RuntimePrecision", computed)
        bare = replace(predictor, runtime=cast("Runtime", None), observe=None)
        return SceneJob(model, bare, tuple(scenes), device, precision)

    def open(self, *, threads: int | None) -> SceneWorker:
        """Open the model in this process.

        Args:
            threads: how many to compute with; None takes one for each core.

        Raises:
            ModelFileError: the model can't be read.
            SettingsError: a device or precision that can't be had here.
        """
        from foveal.inference.opening import open_model

        opened = open_model(
            self.model, device=self.device, precision=self.precision, threads=threads
        )
        torch = sys.modules.get("torch")
        if torch is not None and threads is not None:
            torch.set_num_threads(threads)
        return SceneWorker(replace(self.predictor, runtime=opened.runtime), self.scenes)


@dataclass(slots=True, eq=False)
class SceneWorker:
    """Looks at bands of a run's scenes in this process, with one of them open at a time.

    Attributes:
        predictor: with a runtime.
        scenes: of the run.
    """

    predictor: Predictor
    scenes: tuple[PlannedScene, ...]
    _open: Raster | None = field(default=None, init=False)

    def detect(
        self, scene: int, bands: Sequence[int], progress: Callable[[int], None] | None = None
    ) -> Generator[Mapping[str, NDArray[Any]], None, None]:
        """Look at some bands of a scene, by their numbers from 0, one after another.

        Args:
            scene, bands: numbers from 0.
            progress: is told how many windows were looked at since it was last called.

        Yields:
            What was found in each band, as arrays by name, such as boxes [N, 4].

        Raises:
            ImageError: the scene can't be read there.
        """
        planned = self.scenes[scene]
        if self._open is not planned.raster:
            self.close()
            self._open = planned.raster
        detector = planned.detector(self.predictor)
        known = detector.bands(planned.raster)
        for found in detector.detect_bands(
            planned.raster, [known[band] for band in bands], progress
        ):
            yield found.to_arrays()

    def close(self) -> None:
        """Let go of the scene's files."""
        if self._open is not None:
            self._open.close()
            self._open = None


def put_together(
    scene: PlannedScene, predictor: Predictor, bands: Sequence[Mapping[str, NDArray[Any]]]
) -> tuple[Detections, SceneSummary]:
    """What was found in a scene, of all its bands, and what should be said of it.

    Args:
        scene: of the run.
        predictor: that found it.
        bands: arrays by name, such as boxes [N, 4], as `SceneWorker.detect` gives them.

    Returns:
        Boxes in scene pixels, best first; and the summary.
    """
    detector = scene.detector(predictor)
    found = [BandDetections.from_arrays(band) for band in bands]
    return detector.merge(scene.raster, found), detector.summarize(scene.raster, found)

"""From a model, in a file or in memory, to a predictor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.checkpoints.finding import NETWORK, ONNX, OPENVINO, prediction_file
from foveal.data.transforms.preparation import make_pixel_range, make_preparation
from foveal.detection.anchors import AnchorGrid
from foveal.detection.decoding import CANDIDATES_A_DETECTION
from foveal.errors import ModelFileError, SettingsError
from foveal.inference.predictor import Predictor

if TYPE_CHECKING:
    from foveal.checkpoints.description import Description
    from foveal.checkpoints.model_file import LoadedModel
    from foveal.detection.soft_nms import NmsMethod
    from foveal.models.retinanet import RetinaNet
    from foveal.runtimes.base import Runtime, RuntimePrecision


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that is ready to predict.

    Attributes:
        runtime: computes the network.
        description: what the model says of itself.
        path: the file it came from; None for a model in memory.
        network: the network itself, where PyTorch computes it.
    """

    runtime: Runtime
    description: Description
    path: Path | None = None
    network: RetinaNet | None = None

    @property
    def decodes_inside(self) -> bool:
        """Whether decoding and NMS are inside the model's file, with their limits."""
        export = self.description.export
        return export is not None and export.nms

    def described(self, description: Description) -> Opened:
        """The same runtime with another card or settings; how a file was exported stays."""
        return replace(self, description=replace(description, export=self.description.export))

    def predictor(
        self,
        *,
        score_threshold: float | None = None,
        nms_iou: float | None = None,
        max_detections: int | None = None,
        class_agnostic: bool | None = None,
        nms_method: NmsMethod | None = None,
    ) -> Predictor:
        """A predictor as the model's settings describe it.

        Args:
            score_threshold: the least score of a detection; None takes the card's.
            nms_iou, max_detections, class_agnostic, nms_method: None takes the model's own. Where
                more detections are wanted than the model's own limit, the candidates a level
                follow.

        Returns:
            The predictor; `dataclasses.replace` changes anything else in it.

        Raises:
            SettingsError: decoding and NMS are inside the file, and with other values.
        """
        description, decoding = self.description, self.description.decoding
        if self.decodes_inside:
            self._check_inside(
                score_threshold=score_threshold,
                nms_iou=nms_iou,
                max_detections=max_detections,
                class_agnostic=class_agnostic,
                nms_method=nms_method,
            )
        limit = decoding.max_detections if max_detections is None else max_detections
        top = decoding.top_per_level
        if limit > decoding.max_detections:
            top = max(top, CANDIDATES_A_DETECTION * limit)
        return Predictor(
            self.runtime,
            AnchorGrid(**description.anchors.model_dump()),
            description.card,
            make_preparation(description.preparation),
            make_pixel_range(description.model, description.preparation),
            score_threshold=description.card.score_threshold
            if score_threshold is None
            else score_threshold,
            top_per_level=top,
            nms_iou=decoding.nms_iou if nms_iou is None else nms_iou,
            max_detections=limit,
            class_agnostic=decoding.class_agnostic if class_agnostic is None else class_agnostic,
            nms_method=decoding.nms_method if nms_method is None else nms_method,
            nms_sigma=decoding.nms_sigma,
        )

    def measuring_predictor(self) -> Predictor:
        """A predictor for evaluation: low scores stay in its detections, since AP needs them."""
        return self.predictor(score_threshold=self.description.decoding.score_threshold)

    def _check_inside(self, *, score_threshold: float | None, **wanted: float | str | None) -> None:
        inside = self.description.decoding
        for name, value in wanted.items():
            own = getattr(inside, name)
            if value is not None and value != own:
                raise SettingsError(
                    f"{self.path}: decoding and NMS are inside this file, with {name} = {own}, "
                    f"and {value} is wanted. Export the model without --nms, or use the "
                    f"{NETWORK} file."
                )
        if score_threshold is not None and score_threshold < inside.score_threshold:
            raise SettingsError(
                f"{self.path}: decoding is inside this file and gives no scores below "
                f"{inside.score_threshold:g}; the threshold {score_threshold:g} is lower. Export "
                f"the model without --nms, or use the {NETWORK} file."
            )


def open_model(
    path: Path | str,
    *,
    device: str = "auto",
    precision: RuntimePrecision = "auto",
    threads: int | None = None,
) -> Opened:
    """Get a model ready to predict; PyTorch is loaded only for foveal's own model files.

    Args:
        path: a model file (.safetensors), an exported model (.xml, .onnx), or the folder of a run,
            of which the fastest file for this machine is taken.
        device: 'auto' takes an accelerator where there is one.
        precision: 'auto' takes what is fastest here.
        threads: how many an exported model computes with on a CPU; None takes one for each core.
            PyTorch's are the process's: `torch.set_num_threads`.

    Raises:
        ModelFileError: it is missing, cut short, or not foveal's.
        SettingsError: a device or precision that can't be had.
        MissingExtraError: the runtime is not installed.
    """
    if not isinstance(path, str | Path):
        raise ModelFileError(
            f"A model is {type(path).__name__}. Expected the path of a model file or of a run's "
            "folder, or a name in your library (foveal models list)."
        )
    file = prediction_file(path, device=device)
    ending = file.suffix.lower()
    if ending == OPENVINO:
        from foveal.runtimes.openvino import open_openvino

        return Opened(
            *open_openvino(file, precision=precision, device=device, threads=threads), file
        )
    if ending == ONNX:
        from foveal.runtimes.onnx import open_onnx

        return Opened(*open_onnx(file, precision=precision, device=device, threads=threads), file)
    if ending == ".bin":
        raise ModelFileError(
            f"{file}: holds the weights of an OpenVINO model. Expected {file.with_suffix('.xml')}."
        )
    from foveal.checkpoints.model_file import load

    return open_network(load(file), device=device, precision=precision, path=file)


def open_network(
    loaded: LoadedModel,
    *,
    device: str | None = "auto",
    precision: RuntimePrecision = "auto",
    path: Path | None = None,
) -> Opened:
    """A network in memory, ready to predict in PyTorch.

    Args:
        loaded: the network with its card and settings.
        device: 'auto' takes an accelerator where there is one; None leaves the network where it is.
        precision: 'auto' measures which is faster here, once.
        path: the file it came from.
    """
    from foveal.runtimes.pytorch import PyTorchRuntime

    runtime = PyTorchRuntime(loaded.model, device=device, precision=precision)
    return Opened(runtime, loaded.description, path, loaded.model)

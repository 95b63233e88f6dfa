"""The network as a `torch.export` program: PyTorch in Python or C++ runs it without foveal."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torchvision.ops import nms

from foveal.checkpoints.description import METADATA_KEY
from foveal.detection.decoding_tensors import best_candidates
from foveal.geometry.boxes import clip
from foveal.runtimes.base import InputSizes
from foveal.structures import PaddedDetections, RawOutput

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.config import DecodingSettings
    from foveal.detection.anchors import AnchorGrid
    from foveal.exporting.network import ExportedNetwork

_LARGEST_SIDE = 2**15
"""Input pixels."""
_LARGEST_BATCH = 2**12
_APART = 2.0**21
"""Input pixels between the classes while NMS runs: more than any box reaches."""


def least_side(network: ExportedNetwork) -> int:
    """The smallest side of an input that a program for all sizes takes, in input pixels.

    PyTorch takes feature maps of one pixel for a case of their own, so the coarsest has two.
    """
    return 32 * (network.coarsest_stride // 32 + 1)


def dynamic_shapes(network: ExportedNetwork, sizes: InputSizes) -> tuple[dict[int, Any]]:
    """Which sides of the input are free, as `torch.export` wants it."""
    free: dict[int, Any] = {}
    if sizes.batch is None:
        free[0] = Dim("batch", min=1, max=_LARGEST_BATCH)
    least = least_side(network) // 32
    for axis, name, side in ((2, "height", sizes.height), (3, "width", sizes.width)):
        if side is None:
            free[axis] = 32 * Dim(f"{name}_by_32", min=least, max=_LARGEST_SIDE // 32)
    return (free,)


def network_to_program(
    network: nn.Module, example: Tensor, free: tuple[dict[int, Any]]
) -> ExportedProgram:
    """Export a network.

    Args:
        network: in evaluation mode, on the CPU; maps images to a tuple of tensors.
        example: [B, C, H, W] uint8, with which the network is run once.
        free: as `dynamic_shapes` gives it.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torchvision's NMS about PyTorch's names
        program = torch.export.export(network, (example,), dynamic_shapes=free, strict=False)
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # names files of this machine
    return program


class DetectingNetwork(nn.Module):
    """The network with decoding and NMS behind it, for one input size and number of images.

    Args:
        network: gives raw output.
        grid: its anchors.
        decoding: threshold, most candidates of a level, NMS, most detections.
        height, width: of the input, pixels.
    """

    anchors: Tensor
    extent: Tensor

    def __init__(
        self,
        network: ExportedNetwork,
        grid: AnchorGrid,
        decoding: DecodingSettings,
        *,
        height: int,
        width: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.decoding = decoding
        self.register_buffer("anchors", grid.tensor(height, width).clone())
        self.register_buffer("extent", torch.tensor([0, 0, width, height], dtype=torch.float32))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Find objects in images [B, C, H, W] uint8.

        Returns:
            The parts of `PaddedDetections`, boxes in input pixels and inside the input; a plain
            tuple, which loads without foveal.
        """
        raw = self.network(images)
        levels, decoding = len(raw) // 2, self.decoding
        score_threshold = torch.tensor(decoding.score_threshold, dtype=torch.float64)
        logits, labels, boxes, _ = best_candidates(
            RawOutput(raw[:levels], raw[levels:]),
            self.anchors,
            threshold_logit=float(torch.logit(score_threshold)),
            top_per_level=decoding.top_per_level,
        )
        boxes = clip(boxes, self.extent)
        groups = torch.zeros_like(labels) if decoding.class_agnostic else labels
        keep = torch.stack(
            [
                _keep(*image, iou_threshold=decoding.nms_iou)
                for image in zip(boxes, logits, groups, strict=True)
            ]
        )
        count = min(decoding.max_detections, logits.shape[1])
        logits, index = torch.where(keep, logits, -torch.inf).topk(count, dim=1)
        real = logits > -torch.inf
        missing = decoding.max_detections - count
        chosen = boxes.gather(1, index[..., None].expand(-1, -1, 4))
        return (
            F.pad(torch.where(real[..., None], chosen, 0), (0, 0, 0, missing)),
            F.pad(torch.where(real, logits.sigmoid(), 0), (0, missing)),
            F.pad(torch.where(real, labels.gather(1, index), 0), (0, missing)),
            real.sum(1),
        )


class ProgramRuntime:
    """An exported program, to compare it with the network.

    Args:
        program: of `network_to_program`.
        sizes: the inputs that it takes.
        nms: whether decoding and NMS are inside.
    """

    name = "torch.export"
    device = "cpu"
    precision = "float32"

    def __init__(self, program: ExportedProgram, sizes: InputSizes, *, nms: bool) -> None:
        self.sizes = sizes
        self._nms = nms
        self._compute = program.module()

    def __call__(
        self, images: NDArray[np.uint8]
    ) -> RawOutput[NDArray[np.float32]] | PaddedDetections[NDArray[Any]]:
        """Compute a batch; see `foveal.runtimes.base.Runtime`."""
        with torch.no_grad():
            outputs = self._compute(torch.from_numpy(np.ascontiguousarray(images)))
        arrays = [part.numpy() for part in outputs]
        if self._nms:
            return PaddedDetections(*arrays)
        levels = len(arrays) // 2
        return RawOutput(tuple(arrays[:levels]), tuple(arrays[levels:]))


def write_program(program: ExportedProgram, path: Path, metadata: str) -> None:
    """Write a program with its description, JSON, as the extra file `METADATA_KEY`."""
    torch.export.save(program, path, extra_files={METADATA_KEY: metadata})


def read_program(path: Path) -> tuple[ExportedProgram, str]:
    """Read what `write_program` wrote: the program and its description, JSON."""
    extra = {METADATA_KEY: ""}
    program = torch.export.load(path, extra_files=extra)
    return program, extra[METADATA_KEY]


def _keep(boxes: Tensor, logits: Tensor, groups: Tensor, *, iou_threshold: float) -> Tensor:
    """What greedy NMS keeps of one image's candidates [N, 4], [N], [N]: [N] bool.

    Groups are moved apart, in float64, which rounds no coordinate that matters.
    """
    apart = boxes.double() + (groups * _APART)[:, None]
    keep = nms(apart, logits.double(), iou_threshold)
    marked = torch.zeros_like(logits, dtype=torch.bool).index_fill(0, keep, True)
    return marked & (logits > -torch.inf)

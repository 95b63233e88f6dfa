"""The box subnet with what came after the paper: quality, a factor for each level, distances.

The paper's own subnet is `Head`; this is for networks whose settings ask for more.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from foveal.detection.box_coding import UNITS_A_SIDE, deltas_from_distances
from foveal.detection.box_coding_arrays import LARGEST_LOG_RATIO
from foveal.models.convolutions import conv3x3
from foveal.models.heads import Head, by_anchor, predicting_weights

BoxCoding = Literal["deltas", "distances"]


class BoxOutput(NamedTuple):
    """What the subnet says of the boxes; the parts of `RawOutput` besides the logits.

    Attributes:
        deltas: for each level [B, A_l, 4], (dx, dy, dw, dh) from the anchors.
        quality: for each level [B, A_l]; empty without a quality branch.
        distributions: for each level [B, A_l, 4, bins]; empty without bins.
    """

    deltas: tuple[Tensor, ...]
    quality: tuple[Tensor, ...]
    distributions: tuple[Tensor, ...]


class BoxHead(nn.Module):
    """A box subnet with additions, each of which may be left out.

    - A quality branch: one more convolution on the tower, one logit for each anchor, that starts at
      0 (FCOS, Tian et al. 2019, with its centerness on the regression tower; ATSS, Zhang et al.
      2020). What it means, centerness or IoU, is decided by what it is trained towards.
    - A learned factor for each level on the predictions, which starts at 1 (FCOS, section 3.2), so
      that levels may share the subnet though their objects differ in size.
    - Distances of left, top, right and bottom from the location instead of offsets from the anchor
      (FCOS, equation 1), in eighths of the anchor's side: strides where anchors have 8 strides.
      The distance is the exponential of the prediction. A ReLU, which FCOS has in later versions,
      gives no gradient where a side is predicted on the wrong side of its location, and boxes
      without area, which have no offset. The exponential has neither, and in bf16 it is off by
      less than half a percent. It starts at half a side, so that boxes start as the anchors.
    - With bins the distances are expectations of a distribution over 0, 1 ... bins - 1 (generalized
      focal loss, Li et al. 2020, equation 5).

    Whatever is predicted, offsets from the anchors come out, in float32: decoding and losses need
    not know.

    Args:
        plain: the subnet whose tower and output this has; 4 values for each anchor, or 4 * bins.
        channels: of the tower's output.
        anchors: the number at each location (A).
        levels: how many levels get a factor of their own; 0 for no factors.
        coding: what the output is.
        bins: of each distance's distribution; 0 for none.
        quality: whether there is a quality branch.
        depthwise: as in `Head`.
    """

    def __init__(
        self,
        plain: Head,
        *,
        channels: int,
        anchors: int,
        levels: int = 0,
        coding: BoxCoding = "deltas",
        bins: int = 0,
        quality: bool = False,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.values, self.coding, self.bins = plain.values, coding, bins
        self.tower, self.output = plain.tower, plain.output
        self.quality = conv3x3(channels, anchors, depthwise=depthwise) if quality else None
        self.scales = nn.Parameter(torch.ones(levels)) if levels else None
        if self.quality is not None:
            weight, bias = predicting_weights(self.quality)
            nn.init.normal_(weight, std=0.01)
            nn.init.zeros_(bias)

    def forward(self, levels: tuple[Tensor, ...]) -> BoxOutput:
        """Map each level [B, C, H, W] to its boxes, A_l = H * W * anchors of them."""
        hidden = tuple(self.tower(level) for level in levels)
        return self.read(
            tuple(by_anchor(self.output(level), self.values) for level in hidden),
            tuple(by_anchor(self.quality(level), 1) for level in hidden) if self.quality else (),
        )

    def read(self, predicted: tuple[Tensor, ...], quality: tuple[Tensor, ...]) -> BoxOutput:
        """What the last layers' outputs mean.

        Args:
            predicted: for each level [B, A_l, values].
            quality: for each level [B, A_l, 1]; empty without a quality branch.
        """
        deltas = []
        distributions = []
        for index, values in enumerate(predicted):
            if self.scales is not None:
                values = values.float() * self.scales[index]
            if self.bins:
                distributions.append(values.reshape(values.shape[0], -1, 4, self.bins))
                values = deltas_from_distances(expectation(distributions[-1]))
            elif self.coding == "distances":
                values = deltas_from_distances(positive_distances(values))
            deltas.append(values)
        return BoxOutput(
            tuple(deltas), tuple(level.squeeze(2) for level in quality), tuple(distributions)
        )


def positive_distances(predicted: Tensor) -> Tensor:
    """Distances in eighths of the anchor's side, float32, from predictions of any shape.

    0 is half a side. The exponent is cut off where decoding cuts off dw and dh.
    """
    exponent = predicted.float().clamp(max=LARGEST_LOG_RATIO)
    return UNITS_A_SIDE / 2 * torch.exp(exponent)


def expectation(distributions: Tensor) -> Tensor:
    """The mean of the distributions [..., bins] over 0, 1 ... bins - 1, given as logits: [...]."""
    probabilities = distributions.float().softmax(dim=-1)
    places = torch.arange(
        distributions.shape[-1], dtype=probabilities.dtype, device=probabilities.device
    )
    return (probabilities * places).sum(dim=-1)

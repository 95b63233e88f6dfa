"""Foreign augmentations in place of ours: transforms of torchvision_v2 or of albumentations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.errors import MissingExtraError
from foveal.structures import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray


def from_torchvision(transform: Callable[..., Any]) -> Callable[[Sample, Generator], Sample]:
    """Let a torchvision_v2 transform change samples.

    It gets a dictionary of "image" (tv_tensors.Image), "boxes" (tv_tensors.BoundingBoxes) and
    "labels", which number the boxes, and must give the same back; boxes may be fewer. Its random
    choices follow from the sample's generator, and torch's own random state stays as it was. Boxes
    are cut at the new image's edges and dropped where nothing is left; `v2.SanitizeBoundingBoxes`
    drops more.

    Args:
        transform: such as `v2.Compose([...])`.

    Returns:
        A function from (sample, generator) to sample, for `training_batches`.
    """
    import torch
    from torchvision import tv_tensors

    def change(sample: Sample, generator: Generator) -> Sample:
        height, width = sample.image.shape[:2]
        boxes = torch.from_numpy(sample.target.boxes.astype(np.float32))
        inputs = {
            "image": tv_tensors.Image(torch.from_numpy(sample.image.copy()).permute(2, 0, 1)),
            "boxes": tv_tensors.BoundingBoxes(
                boxes.reshape(-1, 4), format="XYXY", canvas_size=(height, width)
            ),
            "labels": torch.arange(len(boxes)),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator.integers(2**63)))
            outputs = transform(inputs)
        image = outputs["image"].permute(1, 2, 0).numpy()
        return _changed(sample, image, outputs["boxes"].numpy(), outputs["labels"].numpy())

    return change


def from_albumentations(
    transforms: Sequence[Any], *, min_visibility: float = 0.25
) -> Callable[[Sample, Generator], Sample]:
    """Let albumentations' transforms change samples.

    Args:
        transforms: such as `[A.RandomRotate90(), A.CLAHE()]`; they are composed here, so that boxes
            and random choices are ours.
        min_visibility: objects with a smaller share of their box left are dropped.

    Returns:
        A function from (sample, generator) to sample, for `training_batches`.

    Raises:
        MissingExtraError: albumentations is not installed.
    """
    try:
        import albumentations
    except ImportError:
        raise MissingExtraError(
            "These transforms need albumentations: pip install albumentations"
        ) from None
    parameters = albumentations.BboxParams(
        format="pascal_voc", label_fields=["row"], min_visibility=min_visibility, clip=True
    )
    composed = albumentations.Compose(list(transforms), bbox_params=parameters)

    def change(sample: Sample, generator: Generator) -> Sample:
        composed.set_random_seed(int(generator.integers(2**31)))
        kept = np.flatnonzero((sample.target.boxes[:, 2:] > sample.target.boxes[:, :2]).all(axis=1))
        outputs = composed(
            image=sample.image.copy(), bboxes=sample.target.boxes[kept].astype(np.float64), row=kept
        )
        boxes = np.asarray(outputs["bboxes"], np.float64).reshape(-1, 4)
        return _changed(sample, outputs["image"], boxes, np.asarray(outputs["row"]))

    return change


def _changed(
    sample: Sample, image: NDArray[Any], boxes: NDArray[Any], rows: NDArray[Any]
) -> Sample:
    """The sample with a new image, and new boxes for some rows of the old ones."""
    if image.ndim != 3 or image.dtype != np.uint8:
        raise TypeError(
            f"the transform gave an image of {image.dtype} {image.shape}; expected uint8 with "
            "bands: leave conversion to floating point and normalization out, the model does both"
        )
    height, width = image.shape[:2]
    limits = np.array([width, height] * 2, np.float64)
    cut = np.clip(boxes.reshape(-1, 4), 0, limits).astype(np.float32)
    keep = (cut[:, 2:] > cut[:, :2]).all(axis=1)
    rows = rows.astype(np.int64)[keep]
    target = sample.target.select(rows).transformed(cut[keep])
    return Sample(np.ascontiguousarray(image), target, sample.name)

"""The user's own augmentation in place of ours: a function, torchvision's v2, albumentations."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.errors import FovealError, MissingExtraError, SettingsError
from foveal.structures import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray


Change = Callable[[Sample, "Generator"], Sample]
"""From sample to sample, in original pixels; random choices follow from the generator."""


def load_augmentation(name: str) -> Change:
    """The augmentation that is called so.

    Args:
        name: 'package.module:name', also of a module in the current folder.

    Raises:
        SettingsError: there is none of that name, or it is no augmentation.
    """
    module_name, colon, attribute = name.partition(":")
    expected = (
        "Expected package.module:name of a function from (sample, generator) to sample, of a "
        "torchvision v2 transform, or of albumentations' transforms."
    )
    if not (module_name and colon and attribute):
        raise SettingsError(f"augmentation {name!r}: names nothing. {expected}")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"augmentation {name!r}: can't be found ({error}). {expected}"
        ) from None
    finally:
        sys.path.remove(here)
    return as_change(found, name=name)


def name_of(augment: object) -> str | None:
    """What an augmentation is called in the settings of a run; None for none."""
    if augment is None or isinstance(augment, str):
        return augment
    kind: Any = augment if hasattr(augment, "__qualname__") else type(augment)
    return f"{kind.__module__}:{kind.__qualname__}"


def as_change(transform: object, *, name: str = "the augmentation") -> Change:
    """Whatever the user has, as a function from (sample, generator) to sample.

    Args:
        transform: such a function, a transform of torchvision's v2, one of albumentations or a
            list of them.
        name: for messages.

    Raises:
        SettingsError: it is none of these, or a function that takes other arguments.
    """
    parts = list(transform) if isinstance(transform, (list, tuple)) else [transform]
    homes = {type(part).__module__.partition(".")[0] for part in parts}
    if homes == {"albumentations"}:
        return from_albumentations(parts, name=name)
    if homes == {"torchvision"} and callable(parts[0]) and len(parts) == 1:
        return from_torchvision(parts[0], name=name)
    if len(parts) == 1 and callable(parts[0]):
        _expect_two_arguments(parts[0], name)
        return _Checked(parts[0], name)
    raise SettingsError(
        f"{name} is {type(transform).__name__}. Expected a function from (sample, generator) to "
        "sample, a torchvision v2 transform, or albumentations' transforms."
    )


def _expect_two_arguments(function: Callable[..., Any], name: str) -> None:
    """See that a function can be called as training will, before a worker process calls it."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some that are not written in Python don't tell theirs
        return
    try:
        signature.bind("sample", "generator")
    except TypeError as error:
        called = getattr(function, "__name__", type(function).__name__)
        raise SettingsError(
            f"{name}, {called}{signature}: {error}. Expected a function from (sample, generator) "
            "to sample. The generator is numpy's, and all random choices come from it."
        ) from None


class _Checked:
    """A user's function, of which is seen that it gives samples."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function, self._name = function, name

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        try:
            changed = self._function(sample, generator)
        except FovealError as error:
            raise SettingsError(f"{self._name}: {error}") from error
        except Exception as error:
            raise SettingsError(
                f"{self._name} fails on {sample.name or 'an image'}: {type(error).__name__}: "
                f"{error}{_place_of(error)}. Expected a foveal.Sample."
            ) from error
        if not isinstance(changed, Sample):
            raise SettingsError(
                f"{self._name} gave {type(changed).__name__}. Expected a foveal.Sample."
            )
        if not np.isfinite(changed.target.boxes).all():
            raise SettingsError(
                f"{self._name} gave boxes that are not finite. Expected xmin, ymin, xmax, ymax in "
                "pixels of the image that it gives."
            )
        return _changed(
            changed,
            changed.image,
            changed.target.boxes,
            np.arange(len(changed.target)),
            bands=sample.image.shape[2],
            name=self._name,
        )


def _place_of(error: Exception) -> str:
    """Where in the user's own file something failed, as far as that is known."""
    calls = traceback.extract_tb(error.__traceback__)[1:]  # the first one is ours
    return f" ({Path(calls[-1].filename).name}, line {calls[-1].lineno})" if calls else ""


def from_torchvision(
    transform: Callable[..., Any], *, name: str = "the augmentation"
) -> Callable[[Sample, Generator], Sample]:
    """Let a transform of torchvision's v2 change samples.

    It gets a dictionary of "image" (tv_tensors.Image), "boxes" (tv_tensors.BoundingBoxes) and
    "labels", which number the boxes, and must give the same back; boxes may be fewer. Its random
    choices follow from the sample's generator, and torch's own random state stays as it was. Boxes
    are cut at the new image's edges and dropped where nothing is left; `v2.SanitizeBoundingBoxes`
    drops more.

    Args:
        transform: such as `v2.Compose([...])`.
        name: for messages.

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
                boxes.reshape(-1, 4),
                format="XYXY",  # pyrefly: ignore[unexpected-keyword]
                canvas_size=(height, width),  # pyrefly: ignore[unexpected-keyword]
            ),
            "labels": torch.arange(len(boxes)),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator.integers(2**63)))
            outputs = transform(inputs)
        image = outputs["image"].permute(1, 2, 0).numpy()
        return _changed(
            sample,
            image,
            outputs["boxes"].numpy(),
            outputs["labels"].numpy(),
            bands=sample.image.shape[2],
            name=name,
        )

    return change


def from_albumentations(
    transforms: Sequence[Any], *, min_visibility: float = 0.25, name: str = "the augmentation"
) -> Callable[[Sample, Generator], Sample]:
    """Let albumentations' transforms change samples.

    Args:
        transforms: such as `[A.RandomRotate90(), A.CLAHE()]`; they are composed here, so that boxes
            and random choices are ours.
        min_visibility: objects with a smaller share of their box left are dropped.
        name: for messages.

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
        return _changed(
            sample,
            outputs["image"],
            boxes,
            np.asarray(outputs["row"]),
            bands=sample.image.shape[2],
            name=name,
        )

    return change


def _changed(
    sample: Sample,
    image: NDArray[Any],
    boxes: NDArray[Any],
    rows: NDArray[Any],
    *,
    bands: int,
    name: str,
) -> Sample:
    """The sample with a new image, and new boxes for some rows of the old ones.

    Raises:
        SettingsError: the image is none that can be trained on.
    """
    if not isinstance(image, np.ndarray):
        raise SettingsError(
            f"{name} gave an image that is {type(image).__name__}. Expected a numpy array, uint8 "
            f"[H, W, {bands}]."
        )
    if image.dtype != np.uint8:
        values = f", values {image.min():.4g} to {image.max():.4g}" if image.size else ""
        raise SettingsError(
            f"{name} gave an image of {image.dtype} {list(image.shape)}{values}. Expected uint8 "
            "with values 0 to 255: leave conversion to floating point and normalization out, the "
            "model does both; after computing with numbers round them: image.round().clip(0, "
            "255).astype('uint8')."
        )
    if image.ndim != 3 or image.shape[2] != bands or not image.size:
        raise SettingsError(
            f"{name} gave an image of shape {list(image.shape)}. Expected [H, W, {bands}], as it "
            "got."
        )
    height, width = image.shape[:2]
    limits = np.array([width, height] * 2, np.float64)
    cut = np.clip(boxes.reshape(-1, 4), 0, limits).astype(np.float32)
    keep = (cut[:, 2:] > cut[:, :2]).all(axis=1)
    rows = rows.astype(np.int64)[keep]
    target = sample.target.select(rows).transformed(cut[keep])
    return Sample(np.ascontiguousarray(image), target, sample.name)

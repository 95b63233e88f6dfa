"""What travels between the rooms.

Sample, Target and Detections live on the host, Batch on the device, RawOutput and PaddedDetections
where the network was computed. Host structures hold numpy arrays, so that reading data, predicting
with an exported model and looking at results need no torch.
Bounding boxes are float32 xyxy in continuous pixels without "+1"; labels are 0..K-1 and there is no
background class. The frame (original or input pixels) is said where a structure is used.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

import numpy as np

from foveal.errors import DataError, FovealError, ImageError
from foveal.text import counted, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from foveal.geometry.georeference import Georeference
    from foveal.geometry.placement import Placement

logger = logging.getLogger(__name__)

DEFAULT_SCORE_THRESHOLD = 0.3
"""From which score a detection counts where no validation images chose one."""

NOTEBOOK_SIDE = 1024
"""Pixels of the longer side of a picture that a notebook shows by itself, and keeps in its file."""
_MAX_NAMES = 8
_LONGEST_FILE = 60

SCORE_EDGES = tuple(number / 10 for number in range(11))
"""Edges of a profile's scores: ten bins from 0 to 1."""
SIZE_EDGES = (0.0, *(2 ** (number / 2) for number in range(4, 19)), math.inf)
"""Edges of a profile's sizes, original pixels: half octaves from 4 to 512, and what lies beyond."""

ArrayT = TypeVar("ArrayT", bound="Tensor | NDArray[Any]")
"""Tensors on a device or numpy arrays on the host, all of one kind."""


def _equal(one: object, other: object, names: Iterable[str]) -> bool:
    """Whether fields have the same values, arrays and tensors element by element."""
    return all(_same(getattr(one, name), getattr(other, name)) for name in names)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if hasattr(one, "device"):  # a tensor, told without torch
        return bool(one.shape == other.shape and (one == other).all())
    return bool(one == other)


@dataclass(frozen=True, slots=True)
class PixelRange:
    """Which stored values become a network's bytes.

    Attributes:
        bands: values a pixel; 3 are RGB, 1 is gray.
        low: the stored value that becomes 0, one for all bands or one for each. Empty: values of 8
            bits are taken as they are, deeper ones as `deep` says.
        high: the stored value that becomes 255, for as many bands.
        deep: the stored values of more than 8 bits that become 0 and 255 where `low` says nothing.
            Empty: by each image's own values, see `foveal.data.images.depth`.

    Raises:
        ImageError: not as many limits as that.
    """

    bands: int = 3
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    deep: tuple[float, float] | tuple[()] = ()

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or len(self.low) not in (0, 1, self.bands):
            raise ImageError(
                f"preparation.band_low has {len(self.low)} values and band_high {len(self.high)}. "
                f"Expected none, one, or one for each of {self.bands} bands, in both."
            )


RGB = PixelRange()
"""Three bands of 8 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The ground truth of an image: what it is known to show. Two are equal if all values are.

    Attributes:
        boxes: [N, 4] float32 xyxy.
        labels: [N] int64, 0..K-1.
        ignored: [N] bool; such a box is a region to ignore, neither object nor background.
        areas: [N] float64, pixels in the original frame, where the annotations state an area that
            is not the box's (COCO's masks); evaluation sorts objects by it into sizes.

    Examples:
        >>> target = foveal.read("cells:train").target(0)
        >>> target.boxes.shape == (len(target), 4)
        True
        >>> target.select(~target.ignored).labels.dtype
        dtype('int64')
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    areas: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float32)
        labels = np.asarray(self.labels, np.int64)
        ignored = np.asarray(self.ignored, np.bool_)
        if boxes.size == 0:
            boxes = boxes.reshape(-1, 4)
        if boxes.shape != (len(boxes), 4) or not labels.shape == ignored.shape == (len(boxes),):
            raise DataError(
                f"A Target with boxes {list(boxes.shape)}, labels {list(labels.shape)} and ignored "
                f"{list(ignored.shape)}: expected [N, 4], [N] and [N]."
            )
        for name, value in (("boxes", boxes), ("labels", labels), ("ignored", ignored)):
            object.__setattr__(self, name, value)

    @staticmethod
    def empty() -> Target:
        """A target without objects."""
        return Target(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))

    def __len__(self) -> int:
        return len(self.boxes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Target) and _equal(self, other, self.__slots__)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Target:
        """The objects that a mask [N], indices [n] or a slice picks, in its order."""
        areas = None if self.areas is None else self.areas[keep]
        return Target(self.boxes[keep], self.labels[keep], self.ignored[keep], areas)

    def transformed(self, boxes: NDArray[np.float32]) -> Target:
        """The same objects with their boxes in another frame.

        Areas are left behind: they belong to the original frame.

        Args:
            boxes: [N, 4] float32 xyxy, one for each object.
        """
        return replace(self, boxes=boxes, areas=None)

    @staticmethod
    def concatenate(targets: Sequence[Target]) -> Target:
        """The objects of several targets in one frame; with areas if all that have objects do."""
        targets = [target for target in targets if len(target)]
        if not targets:
            return Target.empty()
        areas = [target.areas for target in targets if target.areas is not None]
        return Target(
            np.concatenate([target.boxes for target in targets]),
            np.concatenate([target.labels for target in targets]),
            np.concatenate([target.ignored for target in targets]),
            np.concatenate(areas) if len(areas) == len(targets) else None,
        )

    __hash__ = None  # pyrefly: ignore[implicit-any-attribute]  # arrays can change


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image with its target, in one frame (original pixels when it comes out of a Dataset).

    Attributes:
        image: [H, W, C] uint8, RGB where C is 3.
        target: boxes in the image's own pixels.
        name: what people call the image, used in messages.

    Examples:
        >>> sample = foveal.read("cells:train")[0]
        >>> sample.image.shape, str(sample.image.dtype)
        ((64, 64, 3), 'uint8')
    """

    image: NDArray[np.uint8]
    target: Target
    name: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.image, np.ndarray) and isinstance(self.target, Target)):
            raise DataError(
                f"A Sample of an image that is {type(self.image).__name__} and a target that is "
                f"{type(self.target).__name__}. Expected a numpy array, uint8 [H, W, C], and a "
                "foveal.Target."
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sample) and _equal(self, other, self.__slots__)

    def __repr__(self) -> str:
        height, width, *bands = self.image.shape
        said = [f"{width} x {height}", counted(math.prod(bands), "band")]
        ignored = int(self.target.ignored.sum())
        said.append(counted(len(self.target) - ignored, "object"))
        if ignored:
            said.append(f"{counted(ignored, 'region')} to ignore")
        return f"<Sample {shorten(self.name, _LONGEST_FILE) or 'of an image'}: {', '.join(said)}>"

    __hash__ = None  # pyrefly: ignore[implicit-any-attribute]  # arrays can change


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images of one input size with their padded targets.

    Attributes:
        images: [B, C, H, W] uint8, channels_last in memory.
        boxes: [B, N, 4] float32 xyxy, input pixels, zeros where padded.
        labels: [B, N] int64, zero where padded.
        ignored: [B, N] bool, regions to ignore, False where padded.
        counts: [B] int64, how many of the N are real.
        placements: one for each image.
        names: what people call each image.
        has_ignored: whether any image holds a region to ignore, known on the host so that the
            device need not be asked.
        indices: each image's position in its data set, where it came from one.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    ignored: Tensor
    counts: Tensor
    placements: tuple[Placement, ...] = ()
    names: tuple[str, ...] = ()
    has_ignored: bool = True
    indices: tuple[int, ...] = ()

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (the hook that torch's DataLoader calls)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            images=change(self.images),
            boxes=change(self.boxes),
            labels=change(self.labels),
            ignored=change(self.ignored),
            counts=change(self.counts),
        )

    def __len__(self) -> int:
        return len(self.images)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Batch) and _equal(self, other, self.__slots__)

    __hash__ = None  # pyrefly: ignore[implicit-any-attribute]  # tensors can change


@dataclass(frozen=True, slots=True)
class DetectionProfile:
    """What a model's detections look like on some images, to see later whether others differ.

    Attributes:
        images: how many images were looked at.
        score_threshold: detections of at least this score are counted.
        scores: how many there are between `SCORE_EDGES`.
        sizes: how many there are between `SIZE_EDGES`, by the square root of the box's area.
        classes: how many there are of each of the K classes.

    Raises:
        DataError: not as many numbers as bins, or a number below 0.
    """

    images: int
    score_threshold: float
    scores: tuple[int, ...]
    sizes: tuple[int, ...]
    classes: tuple[int, ...]

    def __post_init__(self) -> None:
        bins = len(SCORE_EDGES) - 1, len(SIZE_EDGES) - 1
        if (len(self.scores), len(self.sizes)) != bins:
            raise DataError(
                f"A profile of {len(self.scores)} bins of scores and {len(self.sizes)} of sizes: "
                f"expected {bins[0]} and {bins[1]}."
            )
        if min(self.images, *self.scores, *self.sizes, *self.classes) < 0:
            raise DataError("A profile with numbers below 0: expected counts.")

    @property
    def detections(self) -> int:
        """How many detections were counted."""
        return sum(self.scores)


def expect_names(classes: object) -> None:
    """See that class names are several words, and not one whose letters would be the names.

    Raises:
        DataError: they are not.
    """
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise DataError(
            f"The class names are {classes!r}. Expected a tuple of names, such as ('cell',)."
        )


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What people and programs should know of a model; it travels in every file of the model.

    Attributes:
        classes: the K class names.
        score_threshold: the least score of a detection, the default of all commands.
        threshold_is_chosen: whether validation images chose it.
        ignored_classes: classes of the training data whose boxes mark regions to ignore.
        metrics: what was measured on the validation images, such as AP and AP50.
        epoch: after which epoch the weights were taken, from 1; None where there is none.
        origin: where the model came from, in words.
        scale: input pixels that one original pixel became in training, the median of the images;
            None where it is not known.
        ground_resolution: meters of ground that one input pixel showed in training; None where the
            images had no coordinate reference system.
        largest_object: the longer side that 99 of 100 training objects stay below, input pixels;
            None where it is not known.
        profile: what its detections on the validation images look like; None where it is not known.

    Examples:
        >>> card = foveal.load("run").card
        >>> card.classes
        ('normal', 'infected', 'platelet')
        >>> 0 < card.score_threshold < 1
        True
    """

    classes: tuple[str, ...]
    score_threshold: float = DEFAULT_SCORE_THRESHOLD
    threshold_is_chosen: bool = False
    ignored_classes: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    epoch: int | None = None
    origin: str = ""
    scale: float | None = None
    ground_resolution: float | None = None
    largest_object: float | None = None
    profile: DetectionProfile | None = None

    def __post_init__(self) -> None:
        expect_names(self.classes)
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise DataError(
                f"Class names {list(self.classes)}: expected at least one, none of them twice."
            )
        if not 0 <= self.score_threshold <= 1:
            raise DataError(f"Score threshold {self.score_threshold:g}: expected 0 to 1.")


class RawOutput(NamedTuple, Generic[ArrayT]):
    """What the network says, the same in training, evaluation and export.

    Tensors on the device from PyTorch, numpy arrays from a runtime that knows no PyTorch:
    `RawOutput[Tensor]` and `RawOutput[NDArray[np.float32]]`.

    Attributes:
        logits: for each level [B, A_l, K].
        deltas: for each level [B, A_l, 4], (dx, dy, dw, dh) from the anchors.
        quality: for each level [B, A_l], the logit of how well the box fits; empty where the
            network has no such branch, and from exported models, whose logits contain it.
        distributions: for each level [B, A_l, 4, bins], logits of the distances of left, top, right
            and bottom from the location, which the deltas are the expectation of; empty where the
            network predicts no distributions.
    """

    logits: tuple[ArrayT, ...]
    deltas: tuple[ArrayT, ...]
    quality: tuple[ArrayT, ...] = ()
    distributions: tuple[ArrayT, ...] = ()

    def map(self, function: Callable[[Any], Any]) -> RawOutput[Any]:
        """The same with each level's tensor or array replaced by what a function makes of it."""
        return RawOutput(*(tuple(function(level) for level in part) for part in self))


class PaddedDetections(NamedTuple, Generic[ArrayT]):
    """A batch's detections, best first, input pixels: `PaddedDetections[Tensor]` or `[NDArray]`.

    Attributes:
        boxes: [B, M, 4] float32 xyxy, zeros where padded.
        scores: [B, M] float32, zero where padded.
        labels: [B, M] int64, zero where padded.
        counts: [B] int64, how many of the M are real.
        left_out: [B] float32, the score that nothing is above of what a limit left out, 0 where
            nothing was left out; None where that is not known, as from exported models.
    """

    boxes: ArrayT
    scores: ArrayT
    labels: ArrayT
    counts: ArrayT
    left_out: ArrayT | None = None


class Detection(NamedTuple):
    """One detection.

    Attributes:
        box: [4] float32 xyxy, original pixels.
        score: 0..1.
        label: 0..K-1.
        name: of the class; empty where the names are not known.
    """

    box: NDArray[np.float32]
    score: float
    label: int
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What was found in one image, best first.

    `len(found)`, `for one in found`, `found[0]`, `found[:10]`, `found[found.scores > 0.5]` and `==`
    work as they read. `repr(found)` is "41 normal, 3 infected in smear.jpg (640 x 480)"; a notebook
    shows the picture, where it can be read.

    Attributes:
        boxes: [N, 4] float32 xyxy, original pixels.
        scores: [N] float32 in 0..1.
        labels: [N] int64, 0..K-1.
        classes: the K class names.
        width, height: the original image's size in pixels, 0 where unknown.
        path: the image's file, where it came from one.
        left_out_score: the score that nothing is above of what was left out, because a limit
            (`max_detections`, `top_per_level`) was reached; 0 where nothing was left out.
        georeference: where the image's pixels lie on a map, where that is known.

    Examples:
        >>> found = foveal.Detections(
        ...     boxes=np.array([[10, 10, 30, 30], [40, 12, 60, 31]], np.float32),
        ...     scores=np.array([0.9, 0.4], np.float32),
        ...     labels=np.array([0, 1]),
        ...     classes=("normal", "infected"),
        ...     width=64,
        ...     height=64,
        ... )
        >>> found.counts()
        {'normal': 1, 'infected': 1}
        >>> found.above(0.5).names
        ['normal']
        >>> [round(float(each.score), 1) for each in found]
        [0.9, 0.4]
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...] = field(default=())
    width: int = 0
    height: int = 0
    path: Path | None = None
    left_out_score: float = 0.0
    georeference: Georeference | None = None

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float32)
        scores = np.asarray(self.scores, np.float32)
        labels = np.asarray(self.labels, np.int64)
        if boxes.size == 0:
            boxes = boxes.reshape(-1, 4)
        if boxes.shape != (len(boxes), 4) or not scores.shape == labels.shape == (len(boxes),):
            raise DataError(
                f"Detections with boxes {list(boxes.shape)}, scores {list(scores.shape)} and "
                f"labels {list(labels.shape)}: expected [N, 4], [N] and [N]."
            )
        if (
            self.classes
            and len(labels)
            and not 0 <= labels.min() <= labels.max() < len(self.classes)
        ):
            raise DataError(
                f"Detections with labels from {labels.min()} to {labels.max()} and "
                f"{len(self.classes)} class names: expected labels from 0 to "
                f"{len(self.classes) - 1}."
            )
        for name, value in (("boxes", boxes), ("scores", scores), ("labels", labels)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, key: int) -> Detection: ...

    @overload
    def __getitem__(self, key: slice | NDArray[Any] | Sequence[int]) -> Detections: ...

    def __getitem__(
        self, key: int | slice | NDArray[Any] | Sequence[int]
    ) -> Detection | Detections:
        if isinstance(key, int | np.integer):
            label = int(self.labels[key])
            name = self.classes[label] if self.classes else ""
            return Detection(self.boxes[key], float(self.scores[key]), label, name)
        return self.select(key if isinstance(key, slice) else np.asarray(key))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Detections) and _equal(self, other, self.__slots__)

    __hash__ = None  # pyrefly: ignore[implicit-any-attribute]  # arrays can change

    @staticmethod
    def concatenate(parts: Sequence[Detections]) -> Detections:
        """What was found in several looks at one image, best first.

        Args:
            parts: at least one, of one image and with the same classes.

        Raises:
            DataError: there is none, or they are of several images or classes.
        """
        if not parts:
            raise DataError("Nothing to concatenate. Expected the detections of at least one look.")
        first = parts[0]
        for part in parts:
            if (part.classes, part.width, part.height, part.path) != (
                first.classes,
                first.width,
                first.height,
                first.path,
            ):
                raise DataError(
                    f"Detections of {first.path or 'an image'} ({first.width} x {first.height}) "
                    f"and of {part.path or 'an image'} ({part.width} x {part.height}) can't be "
                    "joined: expected one image and the same class names."
                )
        joined = replace(
            first,
            boxes=np.concatenate([part.boxes for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            left_out_score=max(part.left_out_score for part in parts),
        )
        return joined.select(np.argsort(-joined.scores, kind="stable"))

    @property
    def capped(self) -> bool:
        """Whether a limit was reached, so that objects may be missing and counts be too low."""
        return self.left_out_score > 0

    @property
    def names(self) -> list[str]:
        """The class name of each detection."""
        return [self.classes[label] for label in self.labels]

    def select(self, keep: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Detections:
        """The detections that a mask [N], indices [n] or a slice picks, in its order."""
        return replace(
            self, boxes=self.boxes[keep], scores=self.scores[keep], labels=self.labels[keep]
        )

    def above(self, score_threshold: float) -> Detections:
        """The detections whose score is at least the threshold."""
        return self._capped_from(score_threshold).select(self.scores >= score_threshold)

    def filter(self, *names: str, score_threshold: float = 0.0) -> Detections:
        """The detections of some classes.

        Args:
            names: of the classes; without any, all of them.
            score_threshold: the least score of a detection.

        Raises:
            DataError: there is no class of such a name.
        """
        unknown = [name for name in names if name not in self.classes]
        if unknown:
            raise DataError(
                f"There is no class {unknown[0]!r}. Expected some of: {', '.join(self.classes)}."
            )
        keep = self.scores >= score_threshold
        if names:
            keep &= np.isin(self.labels, [self.classes.index(name) for name in names])
        return self._capped_from(score_threshold).select(keep)

    def _capped_from(self, score_threshold: float) -> Detections:
        """The same, known to be complete where all that was left out is below the threshold."""
        complete = self.left_out_score < score_threshold
        return replace(self, left_out_score=0.0) if complete else self

    def counts(self) -> dict[str, int]:
        """How many were found of each class, zeros included."""
        numbers = np.bincount(self.labels, minlength=len(self.classes))
        return {name: int(numbers[label]) for label, name in enumerate(self.classes)}

    def to_table(self) -> list[dict[str, str | float]]:
        """One row for each detection, best first, as `pandas.DataFrame(found.to_table())` takes it.

        The columns are those of the CSV file: image (its path, empty where there is none), xmin,
        ymin, xmax, ymax (original pixels), label (the class name) and score.
        """
        image = "" if self.path is None else str(self.path)
        names = self.names if self.classes else [str(label) for label in self.labels.tolist()]
        return [
            {
                "image": image,
                "xmin": xmin,
                "ymin": ymin,
                "xmax": xmax,
                "ymax": ymax,
                "label": name,
                "score": score,
            }
            for (xmin, ymin, xmax, ymax), name, score in zip(
                self.boxes.tolist(), names, self.scores.tolist(), strict=True
            )
        ]

    def __repr__(self) -> str:
        """How many of which class, the most frequent first, and where."""
        numbers = np.bincount(self.labels) if len(self) else np.zeros(0, np.int64)
        order = np.argsort(-numbers, kind="stable")[: np.count_nonzero(numbers)].tolist()
        shown = [
            f"{numbers[label]:,} {self.classes[label] if self.classes else f'of class {label}'}"
            for label in order[:_MAX_NAMES]
        ]
        rest = order[_MAX_NAMES:]
        if rest:
            shown.append(f"{numbers[rest].sum():,} of {counted(len(rest), 'other class')}")
        text = f"{', '.join(shown) or 'nothing'} in {self._image_in_words()}"
        return f"{text}; a limit was reached, there may be more" if self.capped else text

    def _image_in_words(self) -> str:
        """The image's name and size, as far as they are known."""
        name = "an image" if self.path is None else shorten(self.path.name, _LONGEST_FILE)
        return f"{name} ({self.width} x {self.height})" if self.width else name

    def _repr_png_(self) -> bytes | None:
        """The picture for a notebook; None, and so the words, where there is no file to draw on."""
        if self.path is None:
            return None
        from io import BytesIO

        from foveal import draw  # by the package's face: drawing reads files, far above this

        file = BytesIO()
        try:
            draw(self, max_side=NOTEBOOK_SIDE).save(file, "PNG")
        except FovealError as error:
            logger.warning("Not drawn: %s", error)
            return None
        return file.getvalue()

"""Random changes of training images: geometry as one movement of pixels, color as one matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.transforms import color
from foveal.data.transforms.affine import draw_warp
from foveal.data.transforms.boxes import BoxRule, CutRule, move_target
from foveal.data.transforms.pasting import Cutout, paste_objects
from foveal.data.transforms.preparation import fill_values
from foveal.structures import Sample, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    from foveal.data.transforms.preparation import Preparation

_MOSAIC_CENTER = (0.3, 0.7)
"""Where the four images of a mosaic meet, as a share of each side."""
_MOSAIC_ZOOM = (0.5, 1.0)
"""How much smaller than alone an image is in a mosaic."""

_MOST_PASTED = 3
"""So many objects are pasted into a sample at most."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random changes of a sample, made together with its preparation.

    Resizing and all geometry are one resampling: along the axes by area or linearly; where rotation
    or shear is drawn, one affine warp. Color then changes by one matrix.

    Attributes:
        flip_horizontal, flip_vertical: mirror half of the images.
        quarter_turns: turn by 0, 90, 180 or 270 degrees.
        scale: smallest and largest zoom; above 1 crops, below 1 pads; the place is random.
        rotation: largest angle either way, degrees.
        shear: largest angle of either axis, degrees.
        brightness, contrast, saturation: largest change of the factor 1, either way.
        hue: largest turn of the color circle, either way; 1 is the full circle.
        blur: share of images blurred.
        noise: largest standard deviation of normal noise, gray levels.
        mosaic: share of samples made of four images.
        copy_paste: share of samples into which one to three objects of others are pasted.
        min_visibility: objects with less of their box left in the picture are dropped; with
            windows, whose borders cut objects everywhere, they become regions to ignore.
        rotated_boxes: how a box follows a rotation; see `move_target`.
    """

    flip_horizontal: bool = True
    flip_vertical: bool = False
    quarter_turns: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    shear: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    mosaic: float = 0.0
    copy_paste: float = 0.0
    min_visibility: float = 0.25
    rotated_boxes: BoxRule = "corners"

    def draw_turns(self, generator: Generator) -> int:
        """How many quarter turns the image makes; a batch of one input size must know it early."""
        return int(generator.integers(4)) if self.quarter_turns else 0

    def draw_zoom(self, generator: Generator) -> float:
        """How much larger than its preparation makes it an image is shown."""
        low, high = (math.log(limit) for limit in self.scale)
        return math.exp(generator.uniform(low, high))

    def __call__(
        self,
        sample: Sample,
        generator: Generator,
        preparation: Preparation,
        *,
        size: tuple[int, int] | None = None,
        turns: int | None = None,
        zoom: float | None = None,
        another: Callable[[], Sample] | None = None,
        donor: Callable[[], Cutout | None] | None = None,
        out: NDArray[np.uint8] | None = None,
    ) -> Sample:
        """Change a sample and bring it to the input's size.

        Args:
            sample: in original pixels.
            generator: source of every random choice.
            preparation: says how an image is scaled, and what fills the rest of the input.
            size: (height, width) of the input; None: the preparation's for the turned image.
            turns: quarter turns drawn before; None: drawn here.
            zoom: drawn before, by which a window was cut; None: drawn here.
            another: gives further samples for a mosaic; without it there is none.
            donor: gives objects to paste, or None where one can't be had; without it none are.
            out: [*size, C] to write the image into.

        Returns:
            The sample in input pixels. Its boxes have areas and lie within the input.
        """
        if turns is None:
            turns = self.draw_turns(generator)
        height, width, bands = sample.image.shape
        if size is None:
            size = preparation.size_for(*((height, width) if turns % 2 else (width, height)))
        if out is None:
            out = np.empty((*size, bands), np.uint8)
        if generator.random() < self.mosaic and another is not None:
            target, place = self._lay_mosaic(
                sample, generator, preparation, turns, zoom, another, out
            )
        else:
            target, place = self._lay(sample, generator, preparation, size, turns, zoom, 1.0, out)
        left, top, right, bottom = place
        shown = out[top:bottom, left:right]
        if self.copy_paste and donor is not None and generator.random() < self.copy_paste:
            shift = np.array([left, top, left, top], np.float32)
            target = target.transformed(target.boxes - shift)
            target = self._paste(shown, target, generator, preparation, donor)
            target = target.transformed(target.boxes + shift)
        self._change_pixels(shown, generator)
        return Sample(out, target, sample.name)

    def _lay(
        self,
        sample: Sample,
        generator: Generator,
        preparation: Preparation,
        size: tuple[int, int],
        turns: int,
        zoom: float | None,
        smaller: float,
        out: NDArray[np.uint8],
    ) -> tuple[Target, tuple[int, int, int, int]]:
        """Put one image into `out`: its target there, and the rectangle that shows the image.

        `size` is the whole input's, of which `out` may be a part. The rectangle is left, top, right
        and bottom.
        """
        height, width, bands = sample.image.shape
        turned = (height, width) if turns % 2 else (width, height)
        # A window that was cut by its zoom is as large as that makes it, and fits in the end.
        placement = preparation.placement_for(*turned, size=size if zoom is None else None)
        if zoom is None:
            zoom = self.draw_zoom(generator)
        angles = np.radians(generator.uniform(-1, 1, 3) * (self.rotation, self.shear, self.shear))
        flips = generator.random(2) < 0.5
        warp = draw_warp(
            width,
            height,
            resized=(
                round(turned[0] * placement.scale_x),
                round(turned[1] * placement.scale_y),
            ),
            room=(out.shape[0], out.shape[1]),
            generator=generator,
            zoom=zoom * smaller,
            turns=turns,
            mirror_x=bool(self.flip_horizontal and flips[0]),
            mirror_y=bool(self.flip_vertical and flips[1]),
            rotation=float(angles[0]),
            shear=(float(angles[1]), float(angles[2])),
            shift=smaller != 1 or self.scale != (1, 1),
        )
        fill = fill_values(preparation.fill, bands)
        warp.move_image(sample.image, out, fill, filtered=preparation.filtered)
        target = move_target(
            sample.target,
            warp.to_output,
            room=(out.shape[0], out.shape[1]),
            min_visibility=self.min_visibility,
            rule=self.rotated_boxes,
            cut=_cut_rule(preparation),
        )
        whole = (0, 0, out.shape[1], out.shape[0])
        return target, warp.place if warp.matrix is None else whole

    def _lay_mosaic(
        self,
        sample: Sample,
        generator: Generator,
        preparation: Preparation,
        turns: int,
        zoom: float | None,
        another: Callable[[], Sample],
        out: NDArray[np.uint8],
    ) -> tuple[Target, tuple[int, int, int, int]]:
        """Put four images into the four parts of `out` around a random point."""
        height, width = out.shape[:2]
        x, y = (
            min(side - 1, max(1, round(side * share)))
            for side, share in zip(
                (width, height), generator.uniform(*_MOSAIC_CENTER, 2), strict=True
            )
        )
        parts = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
        targets = []
        for part, (left, top, right, bottom) in enumerate(parts):
            laid = sample if part == 0 else another()
            target, _ = self._lay(
                laid,
                generator,
                preparation,
                (height, width),
                turns if part == 0 else self.draw_turns(generator),
                zoom if part == 0 else None,
                generator.uniform(*_MOSAIC_ZOOM),
                out[top:bottom, left:right],
            )
            shift = np.array([left, top, left, top], np.float32)
            targets.append(target.transformed(target.boxes + shift))
        return Target.concatenate(targets), (0, 0, width, height)

    def _paste(
        self,
        image: NDArray[np.uint8],
        target: Target,
        generator: Generator,
        preparation: Preparation,
        donor: Callable[[], Cutout | None],
    ) -> Target:
        """Paste objects into an image: what it shows then, in its pixels."""
        drawn = [donor() for _ in range(int(generator.integers(1, _MOST_PASTED + 1)))]
        cutouts = [
            turned
            for cutout in drawn
            if cutout is not None
            and (turned := self._turn(cutout, generator, preparation)) is not None
        ]
        return paste_objects(
            image,
            target,
            cutouts,
            generator,
            min_visibility=self.min_visibility,
            cut=_cut_rule(preparation),
        )

    def _turn(
        self, cutout: Cutout, generator: Generator, preparation: Preparation
    ) -> Sample | None:
        """An object to paste, flipped and turned as images are, in input pixels.

        None where it would be too small to be seen.
        """
        height, width, bands = cutout.sample.image.shape
        turns = self.draw_turns(generator)
        scale = cutout.scale * self.draw_zoom(generator)
        flips = generator.random(2) < 0.5
        turned = (height, width) if turns % 2 else (width, height)
        resized = (max(1, round(turned[0] * scale)), max(1, round(turned[1] * scale)))
        room = (resized[1], resized[0])
        warp = draw_warp(
            width,
            height,
            resized=resized,
            room=room,
            generator=generator,
            zoom=1.0,
            turns=turns,
            mirror_x=bool(self.flip_horizontal and flips[0]),
            mirror_y=bool(self.flip_vertical and flips[1]),
            rotation=0.0,
            shear=(0.0, 0.0),
            shift=False,
        )
        out = np.empty((*room, bands), np.uint8)
        warp.move_image(cutout.sample.image, out, fill_values(preparation.fill, bands))
        target = move_target(
            cutout.sample.target,
            warp.to_output,
            room=room,
            min_visibility=0.0,
            rule=self.rotated_boxes,
        )
        if len(target) < len(cutout.sample.target):
            return None
        return Sample(out, target, cutout.sample.name)

    def _change_pixels(self, image: NDArray[np.uint8], generator: Generator) -> None:
        color.change_colors(
            image,
            generator,
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            hue=self.hue,
        )
        if self.blur:
            color.blur(image, generator, share=self.blur)
        if self.noise:
            color.add_noise(image, generator, deviation=self.noise)


def _cut_rule(preparation: Preparation) -> CutRule:
    """What becomes of objects of which too little is seen."""
    return "ignore" if preparation.mode == "windows" else "drop"

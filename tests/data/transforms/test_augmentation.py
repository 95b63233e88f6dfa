"""Augmentation: the law that boxes follow drawn shapes, and each change by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from foveal.config import AugmentationSettings
from foveal.data.transforms.augmentation import Augmentation
from foveal.data.transforms.preparation import Preparation
from foveal.structures import Sample, Target

DARK, LIGHT = 20, 240
HALF = (DARK + LIGHT) // 2
PREPARATIONS = [
    Preparation(mode="square", shorter=256, fill=(DARK,)),
    Preparation(shorter=192, longer=320, fill=(DARK,)),
    Preparation(shorter=600, longer=800, fill=(DARK,)),
]
FULL = Augmentation(
    flip_vertical=True, quarter_turns=True, scale=(0.5, 2.0), rotation=25, shear=10,
    brightness=0.3, contrast=0.3, saturation=0.5, hue=0.1, blur=0.5, noise=10, mosaic=0.5,
)  # fmt: skip


def still(**changes: object) -> Augmentation:
    """Nothing but what is asked for."""
    return Augmentation(**{"flip_horizontal": False, "min_visibility": 0.0, **changes})


def target_of(*boxes: tuple[float, ...], ignored: bool = False) -> Target:
    return Target(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.arange(len(boxes), dtype=np.int64),
        np.full(len(boxes), ignored),
    )


def blank(width: int, height: int, *boxes: tuple[float, ...], ignored: bool = False) -> Sample:
    image = np.full((height, width, 3), DARK, np.uint8)
    return Sample(image, target_of(*boxes, ignored=ignored), "drawn")


@st.composite
def drawn(draw: st.DrawFn, ellipse: bool = False, least: int = 60) -> Sample:
    """A light rectangle or ellipse on a dark ground, with its box."""
    width, height = draw(st.integers(least, 700)), draw(st.integers(least, 700))
    x0, y0 = draw(st.integers(0, width * 3 // 4)), draw(st.integers(0, height * 3 // 4))
    x1 = draw(st.integers(min(width, x0 + max(15, width // 5)), width))
    y1 = draw(st.integers(min(height, y0 + max(15, height // 5)), height))
    sample = blank(width, height, (x0, y0, x1, y1))
    if ellipse:
        yy, xx = np.mgrid[y0:y1, x0:x1] + 0.5
        across = ((xx - (x0 + x1) / 2) / (x1 - x0) * 2) ** 2
        down = ((yy - (y0 + y1) / 2) / (y1 - y0) * 2) ** 2
        sample.image[y0:y1, x0:x1][across + down <= 1] = LIGHT
    else:
        sample.image[y0:y1, x0:x1] = LIGHT
    return sample


def bounds(mask: np.ndarray) -> np.ndarray | None:
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def check_follows(
    sample: Sample, *, faint: int = HALF, slack: float = 1.0, tilted: bool = False
) -> None:
    """What is light lies in the box, and the box's sides touch what is lighter than `faint`.

    A tilted corner covers so little of its last pixels that they need not be light all through.
    Where the image's edge cuts a tilted rectangle, a wedge of any sharpness is left, and its tip
    lies between the pixels' centers: `test_box_motion.py` holds such boxes against the corners.
    """
    strong, weak = (bounds(sample.image[:, :, 0] > level) for level in (HALF, faint))
    if len(sample.target) == 0:
        assert strong is None or (strong[2:] - strong[:2]).min() <= 1
        return
    box = sample.target.boxes[0]
    if strong is not None:
        assert (box[:2] <= strong[:2] + slack).all(), (box, strong)
        assert (box[2:] >= strong[2:] - slack).all(), (box, strong)
    if weak is None:
        assert (box[2:] - box[:2]).min() <= 1 + slack
        return
    edges = np.array([0, 0, *sample.image.shape[1::-1]])
    if tilted and (box == edges).any():
        return
    assert (box[:2] >= weak[:2] - slack).all(), (box, weak)
    assert (box[2:] <= weak[2:] + slack).all(), (box, weak)


geometry = st.fixed_dictionaries(
    {
        "flip_horizontal": st.booleans(),
        "flip_vertical": st.booleans(),
        "quarter_turns": st.booleans(),
        "scale": st.sampled_from([(1.0, 1.0), (0.4, 1.0), (0.5, 2.0), (1.0, 3.0)]),
    }
)


@settings(max_examples=60, deadline=None)
@given(drawn(), geometry, st.sampled_from(PREPARATIONS), st.integers(0, 2**32))
def test_law_boxes_follow_drawn_rectangles(sample, changes, preparation, seed):
    augmentation = still(**changes)
    check_follows(augmentation(sample, np.random.default_rng(seed), preparation))


@settings(max_examples=60, deadline=None)
@given(
    drawn(), geometry, st.floats(0, 180), st.floats(0, 20), st.sampled_from(PREPARATIONS),
    st.integers(0, 2**32),
)  # fmt: skip
def test_law_boxes_follow_rotated_rectangles(sample, changes, rotation, shear, preparation, seed):
    augmentation = still(**changes, rotation=rotation, shear=shear)
    found = augmentation(sample, np.random.default_rng(seed), preparation)
    # a sliver may fall between the pixels' centers
    check_follows(found, faint=DARK, slack=1.5, tilted=True)


@settings(max_examples=60, deadline=None)
@given(drawn(ellipse=True, least=300), st.floats(0, 180), st.integers(0, 2**32))
def test_law_boxes_follow_rotated_ellipses(sample, rotation, seed):
    augmentation = still(rotation=rotation, scale=(0.3, 0.5), rotated_boxes="ellipse")
    found = augmentation(sample, np.random.default_rng(seed), PREPARATIONS[0])
    assume(len(found.target) > 0)
    box = found.target.boxes[0]
    assume((box > 0).all() and (box < 256).all())  # a cut ellipse may end before its cut box
    check_follows(found, faint=DARK)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(drawn(least=250), min_size=4, max_size=4),
    st.sampled_from(PREPARATIONS[:2]),
    st.integers(0, 999),
)
def test_law_boxes_follow_in_a_mosaic(samples, preparation, seed):
    """All that is light lies in a box, and all boxes are light, but for a pixel at their sides."""
    rest = iter(samples[1:])
    augmentation = still(mosaic=1.0, flip_vertical=True, quarter_turns=True, scale=(0.8, 1.2))
    found = augmentation(
        samples[0], np.random.default_rng(seed), preparation, another=lambda: next(rest)
    )
    assert next(rest, None) is None
    inner, outer = (np.zeros(found.image.shape[:2], np.bool_) for _ in range(2))
    for box in found.target.boxes:
        x0, y0, x1, y1 = (int(value) for value in np.hstack([np.ceil(box[:2]), np.floor(box[2:])]))
        inner[y0 + 1 : max(0, y1 - 1), x0 + 1 : max(0, x1 - 1)] = True
        outer[max(0, y0 - 2) : y1 + 2, max(0, x0 - 2) : x1 + 2] = True
    light = found.image[:, :, 0] > HALF
    assert not (inner & ~light).any()
    assert not (light & ~outer).any()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(0, 5), st.sampled_from([1, 2, 3, 4, 6]),
    st.sampled_from(PREPARATIONS[:2]), st.integers(0, 2**32),
)  # fmt: skip
def test_law_any_image_any_boxes(width, height, count, bands, preparation, seed):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, (width + 1, height + 1), (count, 2, 2)), axis=1)
    target = target_of(*corners.reshape(count, 4).astype(float))
    sample = Sample(rng.integers(0, 256, (height, width, bands), np.uint8), target, "any")
    before = sample.image.copy(), target.boxes.copy()
    found = FULL(sample, rng, preparation, another=lambda: sample)
    assert found.image.dtype == np.uint8
    assert found.image.shape[0] % 32 == found.image.shape[1] % 32 == 0
    boxes = found.target.boxes
    assert boxes.shape == (len(found.target.labels), 4)
    assert boxes.dtype == np.float32
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= found.image.shape[1::-1]).all()
    assert (sample.image == before[0]).all()
    assert (target.boxes == before[1]).all()


def test_same_generator_same_sample():
    rng = np.random.default_rng(3)
    sample = Sample(rng.integers(0, 256, (90, 120, 3), np.uint8), target_of((5, 5, 60, 70)))
    first, second, third = (
        FULL(sample, np.random.default_rng(seed), PREPARATIONS[1], another=lambda: sample)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.target.boxes, second.target.boxes)
    assert first.image.shape != third.image.shape or (first.image != third.image).any()


def test_settings_and_class_agree():
    values = AugmentationSettings().model_dump(exclude={"custom", "strong_until"})
    assert Augmentation(**values) == Augmentation()


def test_without_changes_it_is_the_preparation():
    rng = np.random.default_rng(0)
    sample = Sample(rng.integers(0, 256, (77, 130, 3), np.uint8), target_of((3, 4, 50, 60)))
    for preparation in PREPARATIONS:
        found = still()(sample, rng, preparation)
        expected, _ = preparation(sample)
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_allclose(found.target.boxes, expected.target.boxes, atol=1e-4)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
def test_turns_and_flips_equal_numpy(turns, flips):
    rng = np.random.default_rng(1)
    sample = Sample(rng.integers(0, 256, (64, 96, 3), np.uint8), target_of((10, 20, 40, 50)))
    augmentation = still(flip_horizontal=flips[0], flip_vertical=flips[1], quarter_turns=True)
    preparation = Preparation(shorter=64, longer=96, multiple=32)
    expected = np.rot90(sample.image, -turns)
    allowed = [expected[:: -1 if y else 1, :: -1 if x else 1]
               for x in {False, flips[0]} for y in {False, flips[1]}]  # fmt: skip
    seen = set()
    for seed in range(12):
        found = augmentation(sample, np.random.default_rng(seed), preparation, turns=turns)
        match = [i for i, image in enumerate(allowed) if np.array_equal(found.image, image)]
        assert len(match) == 1
        seen.add(match[0])
    assert seen == set(range(len(allowed)))


def test_cut_boxes_are_dropped_by_share_and_regions_stay():
    # a zoom of exactly 2: half of each side is seen
    augmentation = Augmentation(flip_horizontal=False, scale=(2.0, 2.0), min_visibility=0.5)
    preparation = Preparation(mode="square", shorter=64)
    kept = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        boxes = ((10, 10, 50, 50), (0, 0, 64, 64), (30, 30, 34, 34))
        found = augmentation(blank(64, 64, *boxes), rng, preparation)
        seen = (found.target.boxes[:, 2:] - found.target.boxes[:, :2]).prod(axis=1) / 4
        whole = {0: 40 * 40, 1: 64 * 64, 2: 4 * 4}
        shares = {
            int(label): float(area) / whole[int(label)]
            for label, area in zip(found.target.labels, seen, strict=True)
        }
        assert all(share >= 0.5 - 1e-6 for share in shares.values())
        assert 1 not in shares  # a quarter of it is seen
        kept += 0 in shares
        regions = augmentation(
            blank(64, 64, *boxes, ignored=True), np.random.default_rng(seed), preparation
        )
        assert {0, 1} <= set(regions.target.labels.tolist())
    assert 0 < kept < 200


def test_one_pixel_boxes_and_boxes_without_area():
    boxes = ((300, 300, 301, 301), (307, 307, 307, 309), (309, 309, 309, 309))
    for augmentation in (still(), still(rotation=30), still(scale=(0.5, 0.5))):
        found = augmentation(blank(640, 640, *boxes), np.random.default_rng(0), PREPARATIONS[0])
        assert found.target.labels.tolist() == [0]


@pytest.mark.parametrize("augmentation", [still(), still(rotation=20), FULL])
def test_zero_boxes_and_one_pixel_image(augmentation):
    sample = blank(1, 1)
    found = augmentation(sample, np.random.default_rng(0), PREPARATIONS[0], another=lambda: sample)
    assert found.target.boxes.shape == (0, 4)
    assert found.image.shape == (256, 256, 3)


def test_small_scale_pads_and_large_scale_crops():
    sample = blank(100, 100, (0, 0, 100, 100))
    sample.image[...] = LIGHT
    small = still(scale=(0.5, 0.5))(sample, np.random.default_rng(0), PREPARATIONS[0])
    assert abs((small.image[:, :, 0] == LIGHT).mean() - 0.25) < 0.01
    large = still(scale=(2.0, 2.0))(sample, np.random.default_rng(0), PREPARATIONS[0])
    assert (large.image == LIGHT).all()
    places = {
        still(scale=(0.5, 0.5))(
            sample, np.random.default_rng(seed), PREPARATIONS[0]
        ).target.boxes.tobytes()
        for seed in range(5)
    }
    assert len(places) > 1


@pytest.mark.parametrize("rotation", [0.0, 10.0])
def test_shrinking_does_not_alias(rotation):
    """Fine stripes become gray, not coarse stripes."""
    image = np.zeros((1600, 1600, 3), np.uint8)
    image[:, ::2] = 200
    sample = Sample(image, Target.empty())
    found = still(rotation=rotation)(
        sample, np.random.default_rng(1), Preparation(mode="square", shorter=256, fill=(100,))
    )
    middle = found.image[60:200, 60:200].astype(int)
    assert np.abs(middle - 100).max() <= 12


def test_ellipse_rule_is_tighter_than_corners_and_equal_without_rotation():
    sample = blank(200, 200, (60, 80, 140, 120))
    areas = {}
    for rule in ("corners", "ellipse"):
        found = still(rotation=45, rotated_boxes=rule)(
            sample, np.random.default_rng(0), PREPARATIONS[0]
        )
        areas[rule] = float(np.prod(found.target.boxes[0, 2:] - found.target.boxes[0, :2]))
        plain = still(rotated_boxes=rule)(sample, np.random.default_rng(0), PREPARATIONS[0])
        np.testing.assert_allclose(plain.target.boxes[0], np.array([60, 80, 140, 120]) * 1.28)
    assert areas["ellipse"] < areas["corners"]


def test_mosaic_shows_four_images_and_needs_others():
    def flat(value: int) -> Sample:
        return Sample(np.full((100, 100, 3), value, np.uint8), target_of((0, 0, 100, 100)))

    values = iter((60, 110, 160))
    augmentation = still(mosaic=1.0)
    found = augmentation(
        flat(10), np.random.default_rng(0), PREPARATIONS[0], another=lambda: flat(next(values))
    )
    assert {10, 60, 110, 160} <= set(np.unique(found.image))
    assert len(found.target) == 4
    alone = augmentation(flat(10), np.random.default_rng(0), PREPARATIONS[0])
    assert len(alone.target) == 1


def test_warp_equals_opencv_of_the_whole_image():
    """Looking at the visible part only changes nothing."""
    from foveal.data.transforms.resampling import warp_into

    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (300, 400, 3), np.uint8), (0, 0), 2)
    matrix = np.array([[1.2, 0.3, -120.0], [-0.3, 1.2, -60.0]])
    out = np.zeros((128, 160, 3), np.uint8)
    warp_into(image, out, matrix, fill=np.array([1, 2, 3], np.uint8))
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5
    expected = cv2.warpAffine(
        image, shifted, (160, 128), flags=cv2.INTER_LINEAR, borderValue=(1, 2, 3)
    )
    assert np.abs(out.astype(int) - expected).max() <= 2

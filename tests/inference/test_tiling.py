"""Plan and merging of tiles: by hand and by law, without a network."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.detection.nms import nms
from foveal.errors import SettingsError
from foveal.geometry.arrays import iou
from foveal.inference.tiling import (
    WHOLE,
    BandDetections,
    Tiling,
    choose_tiling,
    claim,
    merge_bands,
    plan_bands,
)


def band_of(boxes, *, tiles, scores=None, labels=None, cut=None, index=0) -> BandDetections:
    count = len(boxes)
    return BandDetections(
        index,
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.1, count, dtype=np.float32) if scores is None else np.float32(scores),
        np.zeros(count, np.int64) if labels is None else np.asarray(labels),
        np.asarray(tiles, np.int32),
        np.zeros(count, np.bool_) if cut is None else np.asarray(cut),
    )


def test_tiles_of_a_scene_by_hand():
    tiling = Tiling((512, 512), overlap=100, stride=128)
    assert (tiling.window, tiling.steps, tiling.scales) == ((512, 512), (384, 384), (1, 1))
    assert tiling.grid(1000, 512) == (1, 3)
    assert [tiling.window_of(tile, 1000, 512) for tile in range(3)] == [
        (0, 0, 512, 512),
        (384, 0, 896, 512),
        (768, 0, 1000, 512),
    ]
    cores = tiling.cores(np.arange(3), 1000, 512)
    assert cores[:, 0].tolist() == [-np.inf, 448, 832]
    assert cores[:, 2].tolist() == [448, 832, np.inf]
    assert tiling.largest_whole == (128 - 16, 128 - 16)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.37, 2.0, 1.7])
@pytest.mark.parametrize(("size", "overlap"), [((256, 256), 40), ((416, 640), 0), ((96, 128), 60)])
def test_cores_partition_every_scene(scale, size, overlap):
    tiling = Tiling(size, overlap, scale, stride=128)
    generator = np.random.default_rng(0)
    for width, height in ((1, 1), (100, 3000), (1111, 777), (256, 256), (257, 255)):
        rows, columns = tiling.grid(width, height)
        tiles = np.arange(rows * columns)
        cores = tiling.cores(tiles, width, height)
        points = generator.uniform(0, 1, (200, 2)) * (width, height)
        inside = (points[:, None] >= cores[:, :2]) & (points[:, None] < cores[:, 2:])
        assert (inside.all(axis=2).sum(axis=1) == 1).all()
        windows = np.array([tiling.window_of(tile, width, height) for tile in tiles])
        assert (windows[:, :2] < windows[:, 2:]).all()
        assert (windows[:, :2] <= cores[:, :2].clip(0)).all()
        assert (windows[:, 2:] >= np.minimum(cores[:, 2:], (width, height))).all()
        assert windows[-1, 2:].tolist() == [width, height]


def test_at_scale_1_all_anchors_lie_on_one_grid():
    tiling = choose_tiling(5000, 3000, scale=1, overlap=70, stride=128)
    assert all(step % 128 == 0 for step in tiling.steps)
    assert tiling.window == tiling.size


@pytest.mark.parametrize("side", [1, 500, 1536, 1537, 5000, 30_000])
def test_a_chosen_tile_wastes_little(side):
    tiling = choose_tiling(side, side, scale=1, overlap=64, stride=128)
    rows, columns = tiling.grid(side, side)
    computed = rows * tiling.size[0] * columns * tiling.size[1]
    needed = max(128, side) ** 2
    assert computed <= (1.4 if side > 500 else 1.6) * needed
    assert max(tiling.size) <= 1536


def test_a_scene_that_fits_into_one_tile_needs_no_overlap():
    tiling = choose_tiling(200, 150, scale=1, overlap=352, stride=128)
    assert (tiling.size, tiling.grid(200, 150)) == ((256, 256), (1, 1))
    assert choose_tiling(2000, 150, scale=1, overlap=352, stride=128).overlap == 352


@pytest.mark.parametrize("options", [{"overlap": 256}, {"overlap": -1}, {"scale": 0.0}])
def test_impossible_tilings_are_refused(options):
    with pytest.raises(SettingsError):
        Tiling((256, 256), **{"overlap": 10, **options})


def test_a_size_that_no_network_takes_is_refused():
    with pytest.raises(SettingsError, match=r"--tile 650.*640 or 672"):
        choose_tiling(5000, 5000, scale=1, overlap=10, stride=128, size=650)


@pytest.mark.parametrize("whole", [False, True])
def test_bands_are_all_tiles_once(whole):
    tiling = Tiling((256, 256), 64, stride=64)
    bands = plan_bands(3000, 2000, tiling, tiles=32, whole=whole)
    tiles = [tile for band in bands if not band.is_whole for tile in range(*band.tiles)]
    rows, columns = tiling.grid(3000, 2000)
    assert tiles == list(range(rows * columns))
    assert [band.index for band in bands] == list(range(len(bands)))
    assert [band.is_whole for band in bands] == [False] * (len(bands) - whole) + [True] * whole
    assert (bands[0].top, max(band.bottom for band in bands)) == (0, 2000)
    assert sum(band.looks for band in bands) == rows * columns + whole


def test_each_box_is_claimed_by_its_owner_or_as_a_guest_nearby():
    tiling = Tiling((256, 256), 64, stride=64)  # cores end at 224, strips are 8 wide
    x = np.array([150.0, 220, 228, 245])
    boxes = np.stack([x - 10, x - 10, x + 10, x + 10], axis=1).astype(np.float32)
    kept, cut = claim(boxes, 0, 1000, 200, tiling)
    assert kept.tolist() == [True, True, True, False]
    assert cut.tolist() == [False, False, False, True]
    kept, _ = claim(boxes, 1, 1000, 200, tiling)
    assert kept.tolist() == [False, True, True, True]


def test_what_touches_the_tiles_border_is_kept_by_its_owner_only():
    tiling = Tiling((256, 256), 64, stride=64)
    boxes = np.array([[150, 0, 256, 20], [196, 0, 256, 20], [0, 0, 20, 256]], np.float32)
    kept, cut = claim(boxes, 0, 1000, 200, tiling)
    assert kept.tolist() == [True, False, True]
    assert cut.tolist() == [True, True, False]  # below is the scene's own edge


def test_arrays_of_a_band_come_back():
    band = band_of([[0, 0, 5, 5], [1, 2, 3, 4]], tiles=[3, 4], cut=[True, False], index=7)
    back = BandDetections.from_arrays(band.to_arrays())
    assert (back.index, back.left_out_score, len(back)) == (7, 0.0, 2)
    for name in ("boxes", "scores", "labels", "tiles", "cut"):
        np.testing.assert_array_equal(getattr(back, name), getattr(band, name))
        assert getattr(back, name).dtype == getattr(band, name).dtype


def test_no_bands_and_no_boxes_merge_to_none():
    tiling = Tiling((256, 256), 64, stride=64)
    for bands in ([], [band_of([], tiles=[])]):
        merged = merge_bands(bands, 1000, 1000, tiling, nms_iou=0.5, class_agnostic=False)
        assert (len(merged), merged.boxes.shape) == (0, (0, 4))


@pytest.mark.parametrize(
    ("labels", "tiles", "class_agnostic", "expected"),
    [
        ([0, 0], [0, 1], False, 1),
        ([0, 1], [0, 1], False, 2),  # another class is another object
        ([0, 1], [0, 1], True, 1),
        ([0, 0], [0, 0], False, 2),  # one tile's boxes went through NMS already
    ],
)
def test_the_lesser_of_two_tiles_boxes_goes(labels, tiles, class_agnostic, expected):
    tiling = Tiling((256, 256), 64, stride=64)
    boxes = [[210, 50, 238, 80], [212, 50, 240, 80]]
    band = band_of(boxes, tiles=tiles, labels=labels, scores=[0.4, 0.6])
    merged = merge_bands([band], 1000, 200, tiling, nms_iou=0.5, class_agnostic=class_agnostic)
    assert len(merged) == expected
    assert merged.scores[0] == np.float32(0.6)


@pytest.mark.parametrize("seed", range(4))
def test_merging_is_greedy_nms_of_all_boxes_in_tiles_of_one_box_each(seed):
    """If each box were of its own tile, nothing but NMS over all would be left."""
    generator = np.random.default_rng(seed)
    tiling = Tiling((64, 64), 16, stride=16)
    width = height = 300
    rows, columns = tiling.grid(width, height)
    tiles = generator.permutation(rows * columns)[: rows * columns - 2]
    starts = np.array([tiling.window_of(tile, width, height)[:2] for tile in tiles])
    low = starts + generator.uniform(0, 40, (len(tiles), 2))
    boxes = np.concatenate([low, low + generator.uniform(5, 160, (len(tiles), 2))], axis=1)
    boxes = boxes.astype(np.float32)
    scores = generator.permutation(np.linspace(0.1, 0.9, len(boxes))).astype(np.float32)
    labels = generator.integers(0, 2, len(boxes))
    band = band_of(boxes, tiles=tiles, scores=scores, labels=labels)
    merged = merge_bands([band], width, height, tiling, nms_iou=0.2, class_agnostic=False)
    order = np.argsort(-scores, kind="stable")
    keep = order[nms(boxes[order], labels[order], iou_threshold=0.2, max_detections=10**6)]
    # Boxes inside their own core meet no other tile's box: the loop above leaves few of these.
    assert len(merged) < len(boxes)
    np.testing.assert_array_equal(merged.boxes, boxes[keep])


def test_the_order_of_bands_changes_nothing():
    generator = np.random.default_rng(1)
    tiling = Tiling((128, 128), 32, stride=32)
    bands = []
    for index in range(5):
        low = generator.uniform(0, 460, (40, 2))
        boxes = np.concatenate([low, low + 30], axis=1)
        bands.append(band_of(boxes, tiles=generator.integers(0, 20, 40), index=index))
    one = merge_bands(bands, 500, 500, tiling, nms_iou=0.3, class_agnostic=False)
    other = merge_bands(bands[::-1], 500, 500, tiling, nms_iou=0.3, class_agnostic=False)
    np.testing.assert_array_equal(one.boxes, other.boxes)
    assert (np.diff(one.scores) <= 0).all()


def test_a_large_object_of_the_whole_look_takes_the_place_of_its_parts():
    tiling = Tiling((256, 256), 64, stride=64)  # objects of 48 pixels are seen whole
    boxes = [
        [100, 50, 400, 150],  # the whole look's
        [100, 50, 256, 150],  # its parts, of two tiles
        [192, 50, 400, 150],
        [150, 60, 180, 90],  # a small object on it
        [500, 50, 540, 90],  # small in the whole look: the tiles know better
    ]
    band = band_of(
        boxes, tiles=[WHOLE, 0, 1, 0, WHOLE], cut=[False, True, True, False, False],
        scores=[0.5, 0.9, 0.8, 0.7, 0.99],
    )  # fmt: skip
    merged = merge_bands([band], 1000, 200, tiling, nms_iou=0.5, class_agnostic=False)
    assert merged.boxes.tolist() == [boxes[3], boxes[0]]


def test_far_from_the_origin_boxes_keep_their_hundredths():
    """float32 counts in steps of 1/128 between 65,536 and 131,072."""
    box = np.array([99_000.25, 99_000.5, 99_010.25, 99_020.5])
    assert np.abs(box.astype(np.float32) - box).max() <= 1 / 256
    band = band_of([box, box + 0.01], tiles=[0, 1])
    tiling = Tiling((256, 256), 64, stride=64)
    assert iou(band.boxes[:1], band.boxes[1:])[0] > 0.99
    merged = merge_bands([band], 100_000, 100_000, tiling, nms_iou=0.5, class_agnostic=False)
    assert len(merged) == 1


def test_merging_many_boxes_takes_memory_in_proportion():
    """A hundred thousand boxes, and one that covers them all."""
    generator = np.random.default_rng(2)
    tiling = Tiling((1024, 1024), 128, stride=128)
    low = generator.uniform(0, 19_900, (100_000, 2))
    boxes = np.concatenate([low, low + generator.uniform(5, 60, (100_000, 2))], axis=1)
    boxes[0] = 0, 0, 20_000, 20_000
    columns = tiling.grid(20_000, 20_000)[1]
    cell = (low // tiling.steps[0]).astype(int).clip(0, columns - 1)
    band = band_of(boxes, tiles=cell[:, 1] * columns + cell[:, 0])
    merged = merge_bands([band], 20_000, 20_000, tiling, nms_iou=0.5, class_agnostic=True)
    assert 99_000 < len(merged) < 100_000

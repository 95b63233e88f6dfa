"""Scenes in windows: the law, by a detector that is exact; and what surrounds it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.inference.scene_stand_ins import LEVELS, ArrayRaster, draw, stand_in

from foveal.data.transforms.preparation import Preparation
from foveal.errors import ImageError, SettingsError
from foveal.evaluation.evaluate import evaluate
from foveal.geometry.georeference import Georeference
from foveal.inference.scenes import SceneDetector, describe_summaries
from foveal.inference.tiling import Tiling
from foveal.runtimes.base import InputSizes
from foveal.structures import ModelCard, Target


def rectangles(
    generator: np.random.Generator, width: int, height: int, *, count: int, largest: int, gap: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rectangles of whole pixels, none over another; neighbors touch where gap is 0."""
    taken = np.zeros((height + 2, width + 2), bool)
    boxes, levels = [], []
    for _ in range(count):
        sides = np.minimum(generator.integers(2, largest + 1, 2), (width, height))
        left, top = (generator.integers(0, end) for end in (width, height) - sides + 1)
        if boxes and generator.random() < 0.5:  # a neighbor of the last one, as near as may be
            left, top = boxes[-1][2] + gap, boxes[-1][1]
        right, bottom = left + sides[0], top + sides[1]
        around = np.s_[max(0, top - gap) : bottom + gap, max(0, left - gap) : right + gap]
        if right > width or bottom > height or taken[around].any():
            continue
        taken[top:bottom, left:right] = True
        boxes.append((left, top, right, bottom))
        levels.append(len(boxes) % len(LEVELS))
    return np.array(boxes).reshape(-1, 4), np.array(levels, int)


def rows(boxes: np.ndarray, labels: np.ndarray) -> list[tuple[float, ...]]:
    return sorted((*box, label) for box, label in zip(boxes.tolist(), labels.tolist(), strict=True))


def expected(boxes: np.ndarray, levels: np.ndarray) -> list[tuple[float, ...]]:
    return rows(boxes.astype(float), (levels == 2).astype(int))


@pytest.mark.parametrize("seed", range(24))
def test_an_exact_detector_finds_each_rectangle_exactly_once(seed):
    """The law, for any tiling; neighbors touch or are one pixel apart, in one class or in two."""
    generator = np.random.default_rng(seed)
    width, height = generator.integers(60, 700, 2)
    size = tuple(int(32 * side) for side in generator.integers(3, 8, 2))
    stride = int(generator.choice([16, 32, 64, 128]))
    overlap = int(generator.integers(20, min(size) - 16))
    tiling = Tiling(size, overlap, stride=stride)
    largest = int(min(tiling.largest_whole)) - 9  # and whatever touches a border is cut
    gap = int(seed % 2)
    boxes, levels = rectangles(
        generator, width, height, count=300, largest=max(3, min(40, largest)), gap=gap
    )
    if gap == 0:  # what touches must be told apart by its gray
        keep = np.array([True] + [levels[i] != levels[i - 1] for i in range(1, len(levels))])
        boxes, levels = boxes[keep[: len(boxes)]], levels[keep[: len(levels)]]
    raster = ArrayRaster(draw(width, height, boxes, levels))
    whole = stand_in().runtime._find(raster.pixels[..., 0])
    assert len(whole) <= len(boxes)
    detector = SceneDetector(stand_in(flip=bool(seed % 3 == 0)), tiling)
    found = detector.detect(raster)
    assert (found.width, found.height) == (width, height)
    assert rows(found.boxes, found.labels) == sorted((*box, label) for box, label in whole)
    assert not found.capped


def test_rectangles_on_borders_and_corners_of_cores_by_hand():
    tiling = Tiling((256, 256), 64, stride=64)  # cores end at 224, 416, 608
    at = [(224, 100), (224, 224), (416, 224), (416, 608), (300, 416), (223, 300), (225, 350)]
    for width, height in ((20, 20), (21, 9), (40, 7), (1, 1)):
        boxes = np.array(
            [(x - width // 2, y - height // 2, x - width // 2 + width, y - height // 2 + height)
             for x, y in at]
        )  # fmt: skip
        levels = np.arange(len(at)) % 3
        raster = ArrayRaster(draw(700, 700, boxes, levels))
        found = SceneDetector(stand_in(), tiling).detect(raster)
        assert rows(found.boxes, found.labels) == expected(boxes, levels)


def test_neighbors_across_a_core_border_are_not_glued():
    tiling = Tiling((256, 256), 64, stride=64)
    boxes = np.array([(210, 50, 224, 70), (225, 50, 240, 70), (210, 71, 224, 90)])
    levels = np.zeros(3, int)
    found = SceneDetector(stand_in(), tiling).detect(ArrayRaster(draw(500, 200, boxes, levels)))
    assert rows(found.boxes, found.labels) == expected(boxes, levels)


def test_at_half_the_scale_positions_are_those_of_the_scene():
    tiling = Tiling((128, 160), 32, 0.5, stride=32)
    assert (tiling.window, tiling.scales) == ((256, 320), (0.5, 0.5))
    boxes = np.array(
        [(2 * x, 2 * y, 2 * x + 12, 2 * y + 20) for x in range(4, 380, 11) for y in (9, 99)]
    )
    levels = np.arange(len(boxes)) % 3
    raster = ArrayRaster(draw(800, 250, boxes, levels))
    found = SceneDetector(stand_in(), tiling).detect(raster)
    assert rows(found.boxes, found.labels) == expected(boxes, levels)


@pytest.mark.parametrize("scale", [0.31, 0.7, 1.3, 2.0])
def test_at_any_scale_all_are_found_once_to_a_pixel(scale):
    tiling = Tiling((192, 256), 70, scale, stride=32)
    side = int(24 / scale)
    boxes = np.array(
        [
            (x, y, x + side, y + side)
            for x in range(3, 700 - side, 2 * side)
            for y in (9, 9 + 2 * side)
        ]
    )
    levels = np.zeros(len(boxes), int)  # the darkest: edges blur into no other
    raster = ArrayRaster(draw(700, 9 + 4 * side, boxes, levels))
    found = SceneDetector(stand_in(), tiling).detect(raster)
    assert len(found) == len(boxes)
    got = found.boxes[np.lexsort((found.boxes[:, 1], found.boxes[:, 0]))]
    assert np.abs(got - boxes[np.lexsort((boxes[:, 1], boxes[:, 0]))]).max() <= 1.5 / scale


def test_a_large_window_that_is_shrunk_is_read_piece_by_piece(monkeypatch):
    from foveal.inference import scenes

    monkeypatch.setattr(scenes, "_PIXELS_AT_ONCE", 40_000)
    tiling = Tiling((128, 128), 32, 0.25, stride=32)  # windows of 512 x 512
    boxes = np.array(
        [(4 * x, 4 * y, 4 * x + 40, 4 * y + 32) for x in (5, 60, 140) for y in (3, 50, 120)]
    )
    levels = np.arange(len(boxes)) % 3
    raster = ArrayRaster(draw(700, 603, boxes, levels))
    found = SceneDetector(stand_in(), tiling).detect(raster)
    assert rows(found.boxes, found.labels) == expected(boxes, levels)
    assert max((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in raster.reads) <= 40_000


def test_nothing_found_and_nothing_there():
    raster = ArrayRaster(np.zeros((300, 500, 3), np.uint8))
    found, summary = SceneDetector(stand_in(), Tiling((128, 128), 32, stride=32)).look(raster)
    assert (len(found), found.boxes.shape, found.counts()) == (0, (0, 4), {"a": 0, "b": 0})
    assert (summary.cut, summary.capped, summary.skipped) == (0, 0, 0)
    assert describe_summaries([summary]) == ()


def test_bands_alone_give_what_the_scene_gives():
    boxes, levels = rectangles(np.random.default_rng(5), 900, 800, count=200, largest=20, gap=1)
    place = Georeference("EPSG:32617", (10.0, 0, 5e5, 0, -10.0, 4e6))
    raster = ArrayRaster(draw(900, 800, boxes, levels), georeference=place)
    detector = SceneDetector(stand_in(), Tiling((96, 96), 40, stride=16))
    bands = detector.bands(raster)
    assert len(bands) > 3
    alone = [detector.detect_band(raster, band) for band in reversed(bands)]
    together = detector.detect(raster)
    assert detector.merge(raster, alone) == together
    assert together.georeference == place
    assert rows(together.boxes, together.labels) == expected(boxes, levels)


def test_windows_are_batched_across_rows_and_progress_is_told():
    predictor = stand_in(batch=8, preparation=Preparation(shorter=128, longer=128, fill=(0,)))
    raster = ArrayRaster(np.zeros((1000, 200, 3), np.uint8))
    told = []
    detector = SceneDetector(predictor, Tiling((128, 128), 32, stride=32))
    detector.detect(raster, lambda done, total: told.append((done, total)))
    assert {shape[0] for shape in predictor.runtime.shapes[:-1]} == {8}
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
    assert told[-1][0] == told[-1][1] == detector.tiling.grid(200, 1000)[0] * 2


def test_few_windows_are_held_at_once():
    predictor = stand_in(batch=1)
    raster = ArrayRaster(np.zeros((2000, 2000, 3), np.uint8))
    detector = SceneDetector(predictor, Tiling((96, 96), 32, stride=32))
    bands = detector.detect_bands(raster, detector.bands(raster))
    next(bands)
    assert len(raster.reads) <= detector.bands(raster)[0].looks + 3
    bands.close()


def test_what_holds_no_data_is_skipped_filled_and_yields_nothing():
    boxes = np.array(
        [(20, 20, 40, 40), (150, 150, 170, 170), (400, 20, 430, 40), (90, 20, 110, 40)]
    )
    levels = np.zeros(4, int)
    valid = np.zeros((300, 500), bool)
    valid[:, :100] = True  # the last rectangle is cut there
    valid[140:180, 140:180] = True
    raster = ArrayRaster(draw(500, 300, boxes, levels), valid=valid)
    found, summary = SceneDetector(stand_in(), Tiling((128, 128), 32, stride=32)).look(raster)
    assert rows(found.boxes, found.labels) == expected(
        np.array([boxes[0], boxes[1], (90, 20, 100, 40)]), np.zeros(3)
    )
    assert summary.skipped > 5
    assert "hold no data" in describe_summaries([summary])[0]


def test_a_scene_without_any_data_is_an_ordinary_answer():
    raster = ArrayRaster(np.full((300, 500, 3), 200, np.uint8), valid=np.zeros((300, 500), bool))
    predictor = stand_in()
    found, summary = SceneDetector(predictor, Tiling((128, 128), 32, stride=32)).look(raster)
    assert (len(found), summary.looked, predictor.runtime.shapes) == (0, 0, [])


def test_objects_larger_than_the_overlap_are_counted_and_the_whole_look_finds_them():
    boxes = np.array([(50, 40, 350, 140), (400, 30, 420, 50)])
    levels = np.array([1, 2])
    raster = ArrayRaster(draw(600, 200, boxes, levels))
    tiling = Tiling((192, 192), 64, stride=64)
    found, summary = SceneDetector(stand_in(), tiling).look(raster)
    assert summary.cut >= 2
    assert len(found) >= 3
    (said,) = describe_summaries([summary])
    assert "part of an object" in said
    assert "--whole" in said
    found, summary = SceneDetector(stand_in(), tiling, whole=True).look(raster)
    assert summary.cut == 0
    assert rows(found.boxes, found.labels) == expected(boxes, levels)


def test_a_window_in_which_a_limit_is_reached_marks_the_scene():
    boxes = np.array([(x, 10, x + 4, 20) for x in range(10, 90, 6)])
    raster = ArrayRaster(draw(500, 100, boxes, np.zeros(len(boxes), int)))

    class Few:
        name, device, precision, sizes = "few", "cpu", "float32", InputSizes()

        def __call__(self, images):
            padded = stand_in().runtime(images)
            return padded._replace(left_out=np.full(len(images), 0.7, np.float32))

    detector = SceneDetector(replace(stand_in(), runtime=Few()), Tiling((128, 128), 32, stride=32))
    found, summary = detector.look(raster)
    assert (found.capped, found.left_out_score) == (True, pytest.approx(0.7))
    assert summary.capped == summary.looked > 1
    assert "--max-detections" in describe_summaries([summary])[0]


def test_a_scene_that_breaks_gives_its_bands_until_there():
    raster = ArrayRaster(np.zeros((900, 900, 3), np.uint8), fails_at=700)
    detector = SceneDetector(stand_in(), Tiling((96, 96), 32, stride=32))
    finished = []
    bands = detector.detect_bands(raster, detector.bands(raster))
    with pytest.raises(ImageError, match="row 700"):
        finished.extend(bands)
    assert finished


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0)])
def test_a_runtime_of_one_size_and_batch_gets_nothing_else(scales):
    sizes = InputSizes(height=128, width=160, batch=4)
    predictor = stand_in(sizes=sizes, scales=scales, tile_scale=1.0, overlap=32)
    predictor = replace(predictor, preparation=Preparation(shorter=96, longer=96, fill=(0,)))
    tiling = predictor.tiling_for(900, 500)
    assert tiling is not None
    assert tiling.size == (128, 160)
    boxes = np.array([(x, y, x + 20, y + 12) for x in range(4, 860, 44) for y in range(8, 480, 56)])
    levels = np.ones(len(boxes), int)
    raster = ArrayRaster(draw(900, 500, boxes, levels))
    found = SceneDetector(predictor, tiling).detect(raster)
    assert set(predictor.runtime.shapes) == {(4, 3, 128, 160)}
    assert rows(found.boxes, found.labels) == expected(boxes, levels)


# When windows are due ----------------------------------------------------------------------------


def test_ordinary_photos_of_old_models_are_looked_at_as_a_whole():
    predictor = stand_in(preparation=Preparation())
    for width, height in ((500, 375), (4000, 3000), (4264, 100)):
        assert predictor.tiling_for(width, height) is None
    tiling = predictor.tiling_for(30_000, 20_000)
    assert tiling is not None
    assert tiling.scale == 1
    assert tiling.overlap == 384
    text = tiling.describe(30_000, 20_000)
    assert "30,000 x 20,000 pixels, looked at in" in text
    assert "at the scale 1, since the model does not say its training's (see --scale). The" in text
    assert text.endswith("the model does not say how large its objects are (see --overlap).")


def test_windows_are_due_where_training_saw_twice_as_much():
    card = ModelCard(("a", "b"), scale=0.9, largest_object=61.3)
    predictor = stand_in(card=card, preparation=Preparation())
    assert predictor.tiling_for(1400, 1400) is None  # shrunk to 640, 0.457
    tiling = predictor.tiling_for(1500, 1500)
    assert tiling is not None
    assert (tiling.scale, tiling.overlap) == (0.9, 62 + 32)
    assert "training's scale 0.9" in tiling.describe(1500, 1500)


def test_at_which_size_of_objects_windows_are_looked_at_is_told():
    card = ModelCard(("a", "b"), scale=0.5, largest_object=60)
    predictor = stand_in(card=card, preparation=Preparation())
    said = predictor.describe_object_size(0.5, None)
    assert "shorter than 60 pixels of the network's input, which are 120 of this image" in said
    assert "--tile off (in Python tile='off') is right" in said
    assert replace(predictor, tile_scale=0.5).describe_object_size(0.5, None) == ""  # was asked for
    windows = Preparation(mode="windows", shorter=512, fill=(0,))
    for silent in (
        stand_in(card=card, preparation=windows),
        stand_in(preparation=Preparation()),  # not known
    ):
        assert silent.describe_object_size(0.5, None) == ""


def test_at_which_size_of_objects_is_told_once_of_many(caplog):
    card = ModelCard(("a", "b"), scale=0.9, largest_object=60)
    predictor = stand_in(card=card, preparation=Preparation())
    image = np.zeros((1500, 1500, 3), np.uint8)
    assert predictor.tiling_for(1500, 1500) is not None
    told: set[str] = set()
    for _ in range(2):
        predictor.detect_many([image, image], told=told)
    lines = [line for line in caplog.messages if "shorter than 60 pixels" in line]
    assert len(lines) == 1
    assert "option of foveal predict" in lines[0]
    assert replace(predictor, tile="off").tiling_for(1500, 1500) is None
    caplog.clear()
    predictor.detect_many([image])
    assert not [line for line in caplog.messages if "shorter than" in line]


def test_with_windows_as_preparation_the_window_decides():
    preparation = Preparation(mode="windows", shorter=512, scale=0.5, fill=(0,))
    predictor = stand_in(preparation=preparation)
    assert predictor.tiling_for(1024, 1024) is None
    assert predictor.tiling_for(1026, 300) is not None


def test_ground_resolution_is_the_trainings_where_both_are_known():
    place = Georeference("EPSG:32617", (0.2, 0, 5e5, 0, -0.2, 4e6))
    card = ModelCard(("a", "b"), scale=1.0, ground_resolution=0.1, largest_object=40)
    predictor = stand_in(card=card, preparation=Preparation())
    tiling = predictor.tiling_for(4000, 4000, place)
    assert tiling is not None
    assert tiling.scale == pytest.approx(2.0, rel=1e-3)
    assert "0.1 m" in tiling.describe(4000, 4000)
    unknown = predictor.tiling_for(4000, 4000)
    assert unknown is not None
    assert unknown.scale == 1.0


def test_the_size_and_off_can_be_set():
    predictor = stand_in(preparation=Preparation())
    assert replace(predictor, tile="off").tiling_for(90_000, 90_000) is None
    tiling = replace(predictor, tile=640, overlap=64).tiling_for(2000, 600)
    assert tiling is not None
    assert (tiling.size, tiling.overlap) == ((640, 640), 64)
    assert replace(predictor, tile=640).tiling_for(640, 640) is None
    small = replace(predictor, tile_scale=2.0).tiling_for(200, 100)  # what is asked for is done
    assert small is not None
    assert (small.scales, small.grid(200, 100)) == ((2, 2), (1, 1))
    for options in ({"tile": "some"}, {"tile_scale": 0.0}):
        with pytest.raises(SettingsError):
            replace(predictor, **options)
    with pytest.raises(SettingsError, match="--overlap 700"):
        replace(predictor, tile=640, overlap=700).tiling_for(2000, 600)


# Through the predictor ---------------------------------------------------------------------------


def test_large_images_among_others_are_looked_at_in_windows(tmp_path):
    from PIL import Image

    boxes, levels = rectangles(np.random.default_rng(7), 900, 700, count=100, largest=20, gap=1)
    scene = draw(900, 700, boxes, levels)
    path = tmp_path / "scene.png"
    Image.fromarray(scene).save(path)
    card = ModelCard(("a", "b"), largest_object=24)
    preparation = Preparation(mode="windows", shorter=256, fill=(0,))
    predictor = stand_in(card=card, preparation=preparation)
    small = scene[:200, :200]
    found = predictor.detect_many([small, path, small, scene])
    assert rows(found[1].boxes, found[1].labels) == expected(boxes, levels)
    assert found[1].path == path
    assert rows(found[3].boxes, found[3].labels) == expected(boxes, levels)
    assert found[0] == found[2]
    assert found[0].width == 200
    (kept,) = predictor.stream([path], keep_pixels=True)
    np.testing.assert_array_equal(kept.pixels, scene)
    missing = tmp_path / "missing.png"
    errors = {}
    found = list(predictor.stream([missing, path], on_error=errors.__setitem__))
    assert [each.index for each in found] == [1]
    assert "missing.png" in str(errors[0])


def test_a_scene_is_measured_as_its_pieces_are():
    """Objects that no border of the pieces cuts; some are not labeled, some labels show nothing."""
    side, half = 600, 300
    boxes, levels = rectangles(np.random.default_rng(3), side, side, count=160, largest=24, gap=1)
    cut = ((boxes[:, :2] < half) & (boxes[:, 2:] > half)).any(axis=1)
    boxes, levels = boxes[~cut], levels[~cut]
    pixels = draw(side, side, boxes, levels)
    detector = SceneDetector(stand_in(), Tiling((256, 256), 64, stride=64))
    labeled = np.concatenate([boxes[9:], boxes[:9] + np.array([0, 60, 0, 60])])
    labels = (np.concatenate([levels[9:], levels[:9]]) == 2).astype(np.int64)

    def measured(corners):
        found, targets = [], []
        for left, top, right, bottom in corners:
            piece = detector.detect(ArrayRaster(pixels[top:bottom, left:right]))
            shift = np.array([left, top, left, top], np.float32)
            places = (piece.boxes + shift).astype(int)
            # Scores that tell all apart, so that their order is one and the same.
            scores = 0.5 + 0.5 * ((places @ [1, side, 7, 3]) % 9973 / 9973).astype(np.float32)
            found.append(replace(piece, scores=scores))
            inside = ((labeled[:, :2] >= (left, top)) & (labeled[:, 2:] <= (right, bottom))).all(1)
            moved = labeled[inside].astype(np.float32) - shift
            targets.append(Target(moved, labels[inside], np.zeros(inside.sum(), bool)))
        return evaluate(found, targets, ("a", "b"), max_detections=10_000, resamples=0)

    quarters = [(x, y, x + half, y + half) for x in (0, half) for y in (0, half)]
    whole, pieces = measured([(0, 0, side, side)]), measured(quarters)
    assert 0.5 < whole.ap < 0.99
    for name in ("ap", "ap50", "ap75", "ap_small", "recall", "precision"):
        assert getattr(whole, name) == pytest.approx(getattr(pieces, name), abs=1e-9), name


def test_the_observer_is_given_windows_with_their_placements():
    from foveal.structures import RawOutput

    seen = []

    class Raw:
        name, device, precision, sizes = "raw", "cpu", "float32", InputSizes()

        def __call__(self, images):
            batch, _, height, width = images.shape
            counts = [9 * -(-height // s) * -(-width // s) for s in (8, 16, 32, 64, 128)]
            return RawOutput(
                tuple(np.full((batch, n, 2), -9, np.float32) for n in counts),
                tuple(np.zeros((batch, n, 4), np.float32) for n in counts),
            )

    preparation = Preparation(mode="windows", shorter=256, fill=(0,))
    predictor = replace(
        stand_in(preparation=preparation, overlap=40, tile=256),
        runtime=Raw(),
        observe=lambda raw, inputs, size: seen.extend(inputs),
    )
    assert len(predictor.detect_many([np.zeros((100, 100, 3), np.uint8),
                                      np.zeros((300, 500, 3), np.uint8)])) == 2  # fmt: skip
    assert {item.index for item in seen} == {0, 1}
    windows = [item for item in seen if item.index == 1]
    places = {(item.origin.placement.offset_x, item.origin.placement.offset_y) for item in windows}
    assert (0, 0) in places
    assert len(places) == len({item.tile for item in windows}) == len(windows) == 6


# Through the detector, with a trained model ------------------------------------------------------


@pytest.fixture(scope="module")
def cells(shared):
    """A trained detector, and a scene laid of real images of blood cells."""
    from PIL import Image

    from foveal.detector import Detector

    paths = sorted((shared / "data" / "bccd").rglob("*.jpg"))[:4]
    model = shared / "models" / "bccd_light_format1.safetensors"
    if len(paths) < 4 or not model.is_file():
        pytest.skip("needs bccd's images and the model trained on them")
    images = [np.asarray(Image.open(path).convert("RGB").resize((640, 480))) for path in paths]
    scene = np.concatenate([np.concatenate(images[:2], 1), np.concatenate(images[2:], 1)])
    return Detector.load(model), np.ascontiguousarray(scene[:896, :896])


def test_tiles_find_what_one_pass_over_the_whole_finds(cells):
    """The law with a trained network: what differs is what it sees at the borders of tiles.

    Cells of up to 250 pixels; a tile of 640 shares 384 with the next and owns 256 or 448.
    """
    from foveal.geometry.arrays import iou

    detector, scene = cells
    one = detector.detect_scene(scene, tile=896, overlap=0, scale=1.0)
    tiled = detector.detect_scene(scene, tile=640, overlap=300, scale=1.0)
    assert len(one) > 40
    same = iou(one.boxes[:, None], tiled.boxes) * (one.labels[:, None] == tiled.labels)
    best = same.max(axis=1)
    # A score near the threshold decides whether a box is there: a few may come or go.
    assert (best > 0.5).mean() >= 0.93
    assert (same.max(axis=0) > 0.5).mean() >= 0.93
    assert np.median(best) > 0.98
    again = iou(tiled.boxes[:, None], tiled.boxes) * (tiled.labels[:, None] == tiled.labels)
    np.fill_diagonal(again, 0)
    assert again.max() <= 0.5 + 1e-6  # as after one NMS


def test_a_detector_tells_of_a_scene(cells, caplog, tmp_path):
    from PIL import Image

    detector, scene = cells
    path = tmp_path / "smear.png"
    Image.fromarray(scene[:300, :400]).save(path)
    told = []
    found = detector.detect_scene(
        path, tile=128, overlap=0, progress=lambda done, total: told.append((done, total))
    )
    assert (found.path, found.width, found.height) == (path, 400, 300)
    assert told[-1] == (12, 12)
    assert found.boxes.max() <= 400
    assert "may show a part of an object only" in caplog.text

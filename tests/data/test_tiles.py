"""Data sets cut into tiles and put together: nothing is lost, and tiles lie where they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.dataset import Dataset, Record
from foveal.data.formats import FORMATS, read
from foveal.data.tiles import TilePlan, placements_of, read_placements, tile, untile
from foveal.errors import DataError

WIDTH, HEIGHT = 150, 110


def a_data_set(folder: Path, *, objects: int = 25, ending: str = "png") -> Dataset:
    """Two images of random values, the first with objects, some ignored, none of them close."""
    random = np.random.default_rng(3)
    folder.mkdir(exist_ok=True)
    records = []
    for name, count in (("first", objects), ("second", 0)):
        path = folder / f"{name}.{ending}"
        Image.fromarray(random.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)).save(path)
        cells = random.permutation(7 * 5)[:count]
        corners = np.stack([cells % 7 * 21, cells // 7 * 22], axis=1) + random.random((count, 2))
        boxes = np.concatenate([corners, corners + random.uniform(2, 19, (count, 2))], axis=1)
        labels = random.integers(0, 2, count)
        ignored = random.random(count) < 0.2
        records.append(Record(path, WIDTH, HEIGHT, boxes.astype(np.float32), labels, ignored))
    return Dataset(tuple(records), ("car", "ship"), folder, "scenes")


def rows(record: Record) -> list[tuple[float, ...]]:
    """Boxes with labels and marks, in order."""
    columns = zip(record.boxes.tolist(), record.labels, record.ignored, strict=True)
    return sorted((*box, int(label), bool(mark)) for box, label, mark in columns)


def test_starts_by_hand() -> None:
    assert TilePlan(64, 16).starts(150) == [0, 48, 86]
    assert TilePlan(50).starts(150) == [0, 50, 100]
    assert TilePlan(64).starts(64) == TilePlan(64).starts(20) == [0]


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        (TilePlan(64), "geo"), (TilePlan(64, 20), "coco"), (TilePlan(50, 30), "csv"),
        (TilePlan(200), "coco"),
    ],
)  # fmt: skip
def test_tiles_put_together_are_the_images_again(name: str, plan: TilePlan, tmp_path: Path) -> None:
    data = a_data_set(tmp_path / "in")
    counts = tile(data, tmp_path / "tiles", plan, format=name)
    assert counts.tiles == len(data) * len(plan.starts(WIDTH)) * len(plan.starts(HEIGHT))
    found = read(tmp_path / "tiles")
    places = placements_of(found)
    pixels = np.asarray(Image.open(data.records[0].path))
    for record in found:
        place = places[record.path]
        assert (record.width, record.height) == (place.width, place.height)
        assert record.boxes[:, 2:].max(initial=0) <= plan.size
        if place.scene.name == "first.png":
            part = pixels[place.top :, place.left :][: place.height, : place.width]
            assert (np.asarray(Image.open(record.path)) == part).all()
    whole = {record.path.name: record for record in untile(found)}
    assert set(whole) == {record.path.name for record in data}
    for record in data:
        other = whole[record.path.name]
        assert (other.path, other.width, other.height) == (record.path, WIDTH, HEIGHT)
        assert rows(other) == rows(record)


def test_objects_are_cut_as_is_said(tmp_path: Path) -> None:
    data = a_data_set(tmp_path / "in", objects=1)
    box = np.array([[60, 10, 80, 20]], np.float32)  # a fifth of it lies left of 64
    record = Record(data.records[0].path, WIDTH, HEIGHT, box, np.array([1]), np.array([False]))
    data = Dataset((record,), data.classes, data.root)
    counts = tile(data, tmp_path / "ignore", TilePlan(64))
    assert (counts.tiles, counts.objects, counts.cut, counts.empty) == (6, 1, 1, 5)
    found = {r.path.name: r for r in read(tmp_path / "ignore")}
    assert found["first_0_0.png"].boxes.tolist() == [[60, 10, 64, 20]]
    assert found["first_0_0.png"].ignored.tolist() == [True]
    assert found["first_0_64.png"].boxes.tolist() == [[0, 10, 16, 20]]
    assert found["first_0_64.png"].ignored.tolist() == [False]
    tile(data, tmp_path / "drop", TilePlan(64, cut="drop"))
    assert sum(len(r) for r in read(tmp_path / "drop")) == 1
    tile(data, tmp_path / "keep", TilePlan(64, min_visibility=0.2))
    assert sum(int((~r.ignored).sum()) for r in read(tmp_path / "keep")) == 2


def test_a_share_of_the_empty_tiles_is_kept(tmp_path: Path) -> None:
    data = a_data_set(tmp_path / "in", objects=0)
    assert tile(data, tmp_path / "none", TilePlan(16, empty=0)).tiles == 0
    counts = tile(data, tmp_path / "some", TilePlan(16, empty=0.3))
    assert 20 < counts.tiles == counts.empty < 140 - counts.left_out + 1
    again = tile(data, tmp_path / "again", TilePlan(16, empty=0.3))
    assert again == counts
    names = [{r.path.name for r in read(tmp_path / folder)} for folder in ("some", "again")]
    assert names[0] == names[1]


def test_splits_stay_apart(tmp_path: Path) -> None:
    data = a_data_set(tmp_path / "in")
    tile(data, tmp_path / "tiles", TilePlan(64), splits={"train": [1], "val": [0]})
    assert {r.path.name[:5] for r in read(f"{tmp_path}/tiles:val")} == {"first"}
    assert rows(untile(read(f"{tmp_path}/tiles:val")).records[0]) == rows(data.records[0])


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "kitti"])
def test_every_format_of_tiles_knows_its_places(name: str, tmp_path: Path) -> None:
    data = a_data_set(tmp_path / "in")
    objects = data.records[0].select(~data.records[0].ignored)
    data = Dataset((objects,), data.classes, data.root)
    tile(data, tmp_path / "tiles", TilePlan(64, 32, cut="drop"), format=name)
    (whole,) = untile(read(tmp_path / "tiles"))
    # Without the objects' numbers a cut object is the largest of its pieces.
    assert len(whole) == len(objects)
    assert sorted(whole.labels.tolist()) == sorted(objects.labels.tolist())


def test_geotiffs_keep_values_bands_and_place(tmp_path: Path) -> None:
    import rasterio
    from tests.data.formats.test_geo import ROTATED, UTM

    path = tmp_path / "scene.tif"
    values = np.random.default_rng(1).integers(1, 60000, (5, 60, 96), np.uint16)
    values[:, :, 64:] = 0
    with rasterio.open(
        path, "w", driver="GTiff", width=96, height=60, count=5, dtype="uint16", crs=UTM,
        transform=rasterio.Affine(*ROTATED), nodata=0,
    ) as file:  # fmt: skip
        file.write(values)
    box = np.array([[5, 6, 20, 30.5]], np.float32)
    record = Record(path, 96, 60, box, np.array([0]), np.array([False]))
    data = Dataset((record,), ("x",), tmp_path)
    counts = tile(data, tmp_path / "tiles", TilePlan(32), format="geo")
    assert (counts.tiles, counts.without_data) == (4, 2)
    with rasterio.open(tmp_path / "tiles" / "scene_28_32.tif") as file:
        assert (file.read() == values[:, 28:60, 32:64]).all()
        assert (file.dtypes[0], file.nodata, file.crs) == ("uint16", 0, UTM)
        with rasterio.open(path) as whole:
            assert np.allclose(file.xy(0, 0), whole.xy(28, 32))
    assert untile(read(tmp_path / "tiles")).records[0].boxes.tolist() == box.tolist()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"size": 8}, "--size 8"),
        ({"size": 64, "overlap": 64}, "--overlap 64 .* less than the size"),
        ({"size": 64, "min_visibility": 1.5}, "--min-visibility 1.5"),
        ({"size": 64, "empty": -1}, "--empty -1"),
    ],
)
def test_impossible_plans_are_refused(plan: dict, words: str) -> None:
    with pytest.raises(DataError, match=words):
        TilePlan(**plan)


def test_broken_images_and_full_folders_leave_nothing(tmp_path: Path) -> None:
    data = a_data_set(tmp_path / "in")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(DataError, match="Expected a new or an empty folder"):
        tile(data, tmp_path / "full", TilePlan(64))
    data.records[1].path.write_bytes(data.records[1].path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"second\.png"):
        tile(data, tmp_path / "tiles", TilePlan(64))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "in"]


def test_tiles_without_a_list_are_refused(tmp_path: Path) -> None:
    data = a_data_set(tmp_path / "in")
    with pytest.raises(DataError, match=r"no tiles\.json"):
        untile(data)
    tile(data, tmp_path / "tiles", TilePlan(64))
    found = read(tmp_path / "tiles")
    file = tmp_path / "tiles" / "tiles.json"
    strange = Dataset(data.records, data.classes, tmp_path)
    (tmp_path / "in" / "tiles.json").write_bytes(file.read_bytes())
    with pytest.raises(DataError, match=r"does not list 2 of the images, such as first\.png"):
        untile(strange)
    for text in ("{", "[]", '{"version": 2}', '{"version": 1, "scenes": [], "tiles": [{}]}'):
        file.write_text(text)
        with pytest.raises(DataError, match="is no list of tiles"):
            read_placements(file)
        with pytest.raises(DataError, match="is no list of tiles"):
            untile(found)

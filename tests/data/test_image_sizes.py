"""Sizes of annotations and files: compared, and boxes moved to where the files have the objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.dataset import Dataset, Record
from foveal.data.image_sizes import compare_sizes, fit_sizes, turn_points
from foveal.data.images.headers import Header
from foveal.data.images.tiff import orient
from foveal.errors import DataError

BOX = (10.0, 20.0, 30.0, 60.0)


def _data(*sizes: tuple[int, int], **changes: object) -> Dataset:
    records = tuple(
        Record(
            Path(f"/data/{n}.jpg"),
            width,
            height,
            np.array([BOX], np.float32),
            np.zeros(1, np.int64),
            np.zeros(1, np.bool_),
            **changes,  # type: ignore[arg-type]
        )
        for n, (width, height) in enumerate(sizes)
    )
    return Dataset(records, ("x",), Path("/data"), "d")


@pytest.mark.parametrize(
    ("stated", "header", "conflicts"),
    [
        ((64, 80), Header(64, 80), 0),
        ((65, 79), Header(64, 80), 0),  # tools round
        ((66, 80), Header(64, 80), 1),
        ((0, 0), Header(64, 80), 0),  # not stated
        ((64, 80), Header(0, 0, fault="broken"), 0),
        ((80, 64), Header(64, 80), 1),
        ((80, 64), Header(64, 80, orientation=6), 1),
    ],
)
def test_sizes_are_compared(stated: tuple[int, int], header: Header, conflicts: int) -> None:
    assert len(compare_sizes(_data(stated), [header])) == conflicts


def test_nothing_agrees_with_nothing() -> None:
    assert compare_sizes(_data(), []) == []
    assert len(fit_sizes(_data(), [], "scale")) == 0


def test_a_conflict_stops_with_counts_places_and_the_ways_out() -> None:
    headers = [Header(32, 40), Header(64, 80), Header(64, 80, orientation=6)]
    with pytest.raises(DataError) as error:
        fit_sizes(_data((64, 80), (64, 80), (80, 64)), headers, "stop")
    message = str(error.value)
    assert "d: 2 of 3 images have another size" in message
    assert "0.jpg: 32 x 40, annotated as 64 x 80" in message
    assert "--sizes scale (in Python dataset.fit_sizes('scale'))" in message
    assert "--sizes stored (in Python dataset.fit_sizes('stored'))" in message


def test_scaling_moves_all_that_is_in_pixels() -> None:
    outlines = ([[10, 20, 30, 20, 30, 60]],)
    data = _data((64, 80), areas=np.array([100.0]), flags={"segmentation": outlines})
    said: list[str] = []
    (record,) = fit_sizes(data, [Header(32, 160)], "scale", say=said.append)
    assert (record.width, record.height) == (32, 160)
    assert record.boxes.tolist() == [[5, 40, 15, 120]]
    assert record.boxes.dtype == np.float32
    assert record.areas is not None
    assert record.areas.tolist() == [100.0]
    assert record.flags["segmentation"] == ([[5, 40, 15, 40, 15, 120]],)
    assert said == ["d: The boxes of 1 image were scaled to the files' sizes."]


def test_a_mask_of_pixels_does_not_outlive_scaling() -> None:
    data = _data((64, 80), flags={"segmentation": ({"size": [80, 64], "counts": "x"},)})
    (record,) = fit_sizes(data, [Header(32, 40)], "scale")
    assert record.flags["segmentation"] == (None,)


def test_what_is_turned_is_not_scaled_and_what_was_scaled_is_not_turned() -> None:
    with pytest.raises(DataError, match="1 of 1 image has another size"):
        fit_sizes(_data((80, 64)), [Header(64, 80)], "scale")
    with pytest.raises(DataError, match="1 of 1 image has another size"):
        fit_sizes(_data((32, 40)), [Header(64, 80)], "stored")
    with pytest.raises(DataError, match='Expected "stop", "scale" or "stored"'):
        fit_sizes(_data(), [], "shrink")  # type: ignore[arg-type]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_pixels_do(orientation: int) -> None:
    stored = np.zeros((80, 64, 1), np.uint8)
    stored[20:60, 10:30] = 1
    turned = orient(stored, orientation)
    height, width = turned.shape[:2]
    header = Header(width, height, orientation)
    (record,) = fit_sizes(_data((64, 80)), [header], "stored")
    rows, columns = np.nonzero(turned[:, :, 0])
    wanted = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert record.boxes.tolist() == [wanted]
    assert (record.width, record.height) == (width, height)


def test_boxes_of_images_drawn_upright_stay() -> None:
    data = _data((64, 80))
    (record,) = fit_sizes(data, [Header(64, 80, orientation=6)], "stored")
    assert record.boxes.tolist() == [list(BOX)]


def test_points_turn_without_any() -> None:
    assert turn_points(np.zeros((0, 2)), 6, 64, 80).shape == (0, 2)


def test_a_data_set_fits_itself_to_its_files(tmp_path: Path) -> None:
    Image.new("RGB", (32, 40)).save(tmp_path / "a.png")
    data = Dataset(
        (
            Record(
                tmp_path / "a.png",
                64,
                80,
                np.array([BOX], np.float32),
                np.zeros(1, np.int64),
                np.zeros(1, np.bool_),
            ),
        ),
        ("x",),
        tmp_path,
    )
    assert data.fit_sizes("scale").records[0].boxes.tolist() == [[5, 10, 15, 30]]
    with pytest.raises(DataError, match="another size"):
        data.fit_sizes("stop")

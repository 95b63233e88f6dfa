"""Tables of any layout, separator, order, case and encoding: what is read is what was written."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal.data.formats import read
from foveal.data.formats.detect import find_format

WIDTH, HEIGHT = 64, 48
IMAGES = ("a.png", "b.png")
CLASSES = ("cell", "größe", "两 words", "None", "x;y,z")
HEADERS = {
    "corners": [
        ("xmin", "ymin", "xmax", "ymax"),
        ("x1", "y1", "x2", "y2"),
        ("left", "top", "right", "bottom"),
    ],
    "sides": [("x", "y", "w", "h"), ("bbox_x", "bbox_y", "bbox_width", "bbox_height")],
    "center": [("x_center", "y_center", "width", "height"), ("cx", "cy", "w", "h")],
    "bbox": [("bbox",)],
    "geometry": [("geometry",)],
}  # fmt: skip
IMAGE_COLUMNS = ("image_path", "filename", "image", "Image Path", "image_id")
LABEL_COLUMNS = ("label", "class", "Class Name", "category")
NOTHING = ("", "nan", "NaN", "None", "NULL", "NA")


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, ...]:
    """A sound box in quarters of a pixel, so that every way of writing it is exact."""
    x1, y1 = draw(st.integers(0, 4 * WIDTH - 24)), draw(st.integers(0, 4 * HEIGHT - 24))
    x2 = draw(st.integers(x1 + 20, 4 * WIDTH))
    y2 = draw(st.integers(y1 + 20, 4 * HEIGHT))
    return x1 / 4, y1 / 4, x2 / 4, y2 / 4


def cells(layout: str, box: tuple[float, ...], number: Callable[[float], str]) -> list[str]:
    x1, y1, x2, y2 = box
    if layout == "geometry":
        corners = ((x2, y1), (x2, y2), (x1, y2), (x1, y1), (x2, y1))
        return [f"POLYGON (({', '.join(f'{x} {y}' for x, y in corners)}))"]
    if layout == "bbox":
        return [str([x1, y1, x2 - x1, y2 - y1])]
    written = {
        "corners": box,
        "sides": (x1, y1, x2 - x1, y2 - y1),
        "center": ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
    }[layout]
    return [number(value) for value in written]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("tables")
    for name in IMAGES:
        Image.new("L", (WIDTH, HEIGHT), 128).save(folder / name)
    return folder


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_what_is_read_is_what_was_written(folder: Path, data: st.DataObject) -> None:
    draw = data.draw
    layout = draw(st.sampled_from(sorted(HEADERS)))
    names = draw(st.sampled_from(HEADERS[layout]))
    delimiter = draw(st.sampled_from(",;\t|"))
    decimal = draw(st.sampled_from(".,")) if delimiter != "," and layout != "bbox" else "."
    objects = draw(
        st.lists(st.tuples(st.sampled_from(IMAGES), boxes(), st.sampled_from(CLASSES)), max_size=4)
    )
    header = [draw(st.sampled_from(IMAGE_COLUMNS)), *names, draw(st.sampled_from(LABEL_COLUMNS))]
    nothing = draw(st.sampled_from(NOTHING))
    entries = draw(st.permutations([*objects, *((name, None, nothing) for name in IMAGES)]))
    rows = []
    for image, box, label in entries:
        written = [nothing] * len(names)
        if box is not None:
            written = cells(layout, box, lambda value: str(value).replace(".", decimal))
        rows.append([image, *written, label])
    order = draw(st.permutations(range(len(header))))
    has_header = layout != "corners" or order != sorted(order) or draw(st.booleans())
    table = [[row[i] for i in order] for row in ([header] if has_header else []) + rows]
    stream = io.StringIO()
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=ending).writerows(table)
    said = f"sep={delimiter}{ending}" if draw(st.booleans()) else ""
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]))
    (folder / "boxes.csv").write_bytes((said + stream.getvalue()).encode(encoding))

    found = read(folder)
    assert find_format(folder) == "csv"
    assert found.classes == tuple(sorted({label for _, _, label in objects}))
    assert sorted(record.path.name for record in found) == list(IMAGES)
    for record in found:
        mine = [e[1:] for e in entries if e[0] == record.path.name and e[1] is not None]
        np.testing.assert_allclose(record.boxes, np.reshape([box for box, _ in mine], (-1, 4)))
        assert [found.classes[label] for label in record.labels] == [label for _, label in mine]

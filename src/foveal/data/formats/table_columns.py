"""Which column of a table holds what, in the customs of the tools that write such tables.

Boxes are written as two corners (pascal's `xmin,ymin,xmax,ymax`), as a corner and sides
(`x,y,w,h`), as a center and sides (`x_center,y_center,w,h`), as text in one cell (Global Wheat's
`bbox` and `BoxesString`) or as a geometry (DeepForest's WKT polygons). Without a header, columns
are known by what is in them.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from foveal.data.formats.parsing import parse_number
from foveal.data.images.kinds import IMAGE_ENDINGS
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from foveal.data.formats.records import Written

BoxCells = Literal["corners", "sides", "center", "bbox", "boxes", "geometry"]
Rows = list[tuple[int, list[str]]]

NOTHING = frozenset({"", "nan", "none", "null", "na", "n/a", "<na>", "#n/a", "nil", "nat", "-"})
"""What programs write into a cell that holds nothing, in lower case."""
NO_CLASS = frozenset({"", "nan", "<na>", "#n/a"})
"""What is no name of a class beside a box; a class may well be called None."""
_NO_BOX = NOTHING | {"no_box", "[]"}

FLAT_SHAPES = frozenset({"POINT", "MULTIPOINT", "LINESTRING", "MULTILINESTRING"})
"""Geometries without a box."""

_IMAGE = (
    "image_path", "image", "path", "filename", "file_name", "file", "img", "image_name", "img_name",
    "img_path", "image_file", "filepath", "file_path", "imagename", "image_filename", "image_id",
    "imageid", "img_id", "image_url", "url", "name", "id",
)  # fmt: skip
_LABEL = (
    "label", "class", "class_name", "name", "category", "label_name", "category_name", "classname",
    "labelname", "object", "object_class", "object_name", "species", "class_label", "target",
    "class_id", "classid", "category_id", "label_id", "class_number", "labels", "classes",
)  # fmt: skip
_OPTIONAL = {
    "width": ("width", "image_width", "img_width", "imagewidth", "img_w", "image_w"),
    "height": ("height", "image_height", "img_height", "imageheight", "img_h", "image_h"),
    "ignored": ("ignored", "difficult"),
}
WKT_NAMES = ("geometry", "wkt", "wkt_geom")
"""Columns of shapes as text."""
_X = ("xmin", "x1", "left", "x_min", "x_1", "xtl", "bbox_x1", "bbox_xmin", "x0", "box_xmin")
_Y = ("ymin", "y1", "top", "y_min", "y_1", "ytl", "bbox_y1", "bbox_ymin", "y0", "box_ymin")
_WIDTH = ("w", "bbox_width", "bbox_w", "box_width", "box_w", "width")
_HEIGHT = ("h", "bbox_height", "bbox_h", "box_height", "box_h", "height")
_CELLS: tuple[tuple[BoxCells, tuple[tuple[str, ...], ...]], ...] = (
    (
        "corners",
        (
            _X,
            _Y,
            ("xmax", "x2", "right", "x_max", "x_2", "xbr", "bbox_x2", "bbox_xmax", "box_xmax"),
            ("ymax", "y2", "bottom", "y_max", "y_2", "ybr", "bbox_y2", "bbox_ymax", "box_ymax"),
        ),
    ),
    (
        "center",
        (
            ("x_center", "xcenter", "center_x", "cx", "xc", "x_centre", "xc_px", "bbox_cx"),
            ("y_center", "ycenter", "center_y", "cy", "yc", "y_centre", "yc_px", "bbox_cy"),
            _WIDTH,
            _HEIGHT,
        ),
    ),
    (
        "sides",
        (("x", "bbox_x", "box_x", *_X), ("y", "bbox_y", "box_y", *_Y), _WIDTH, _HEIGHT),
    ),
    ("geometry", (WKT_NAMES,)),
    ("boxes", (("boxesstring", "boxes_string"),)),
    ("bbox", (("bbox", "box", "bounding_box", "boundingbox"),)),
)
_WRITTEN: dict[BoxCells, Written] = {
    "corners": "xyxy",
    "sides": "xywh",
    "center": "cxcywh",
    "geometry": "xyxy",
    "boxes": "xyxy",
    "bbox": "xywh",
}
_WANTED = (
    "Expected a header with image_path,xmin,ymin,xmax,ymax,label, or one with x,y,w,h, "
    "x_center,y_center,w,h, bbox or geometry in place of the corners; or no header and "
    "image,x1,y1,x2,y2,class"
)
_SHARED = frozenset({"source", "domain", "score", "scores", "confidence", "id", "annotation_id"})
"""Columns that are no class, where a table has none."""
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a table holds what.

    Attributes:
        cells: how boxes are written.
        box: the places of the box's four cells, or of the one that holds it.
        image: the place of the image's name.
        label: the place of the class, None where the table has no such column.
        others: the places of "width", "height" and "ignored", where there are such columns.
        names: of the columns, for messages.
        header: whether the first row is a header.
    """

    cells: BoxCells
    box: tuple[int, ...]
    image: int
    label: int | None
    others: dict[str, int]
    names: tuple[str, ...]
    header: bool

    @property
    def more(self) -> dict[str, int]:
        """The places of the columns that are kept as they are, by their names; WKT among them."""
        taken = {self.image, self.label, *self.others.values()}
        taken |= set() if self.cells == "geometry" else set(self.box)
        places = enumerate(self.names if self.header else ())
        return {name: place for place, name in places if name and place not in taken}

    @property
    def written(self) -> Written:
        """How the numbers of a box are written."""
        return _WRITTEN[self.cells]

    @property
    def wanted(self) -> str:
        """What a box has to be, for messages."""
        return {
            "geometry": "a POLYGON in WKT",
            "boxes": "x1 y1 x2 y2;x1 y1 x2 y2;...",
            "bbox": "[x, y, width, height]",
        }.get(self.cells, f"four numbers: {', '.join(self.names[p] for p in self.box)}")

    def boxes(self, row: Sequence[str]) -> list[list[float]] | None:
        """The boxes of a row as xyxy in pixels: none where it names none, None where it can't be.

        Of a geometry it is the extent.
        """
        written = [row[place] for place in self.box]
        if len(written) == 4:
            box: list[float] = []
            with suppress(ValueError):  # words, or decimal commas
                box = [float(text) for text in written]
            if box and not any(map(math.isnan, box)):
                return [self._to_corners(box)]
        if all(text.lower() in _NO_BOX for text in written):
            return []
        if self.cells == "geometry":
            return _extent(written[0])
        if self.cells == "boxes":
            boxes = [_numbers(text, 4) for text in written[0].split(";") if text.strip()]
            return [box for box in boxes if box] if all(boxes) else None
        if self.cells == "bbox":
            rows = [_numbers(text, 4) for text in _BRACKETS.findall(written[0]) or written]
            return None if None in rows else [self._to_corners(row) for row in rows if row]
        box = [number for text in written if (number := parse_number(text)) is not None]
        if len(box) < len(written):
            return None
        return [self._to_corners(box)]

    def shape(self, row: Sequence[str]) -> str:
        """The kind of a row's geometry, such as POINT; "" where boxes are written otherwise."""
        words = row[self.box[0]].upper().partition("(")[0].split()
        return words[0] if self.cells == "geometry" and words else ""

    def _to_corners(self, box: list[float]) -> list[float]:
        if self.cells == "corners":
            return box
        x, y, width, height = box
        if self.cells == "center":
            return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        return [x, y, x + width, y + height]


_BRACKETS = re.compile(r"[\[({]([^\[\](){}]*)[\])}]")
"""The innermost brackets: one box in each."""


def is_kept_name(name: str) -> bool:
    """Whether a column of this name says nothing about images, classes or boxes but WKT."""
    plain = _plain(name)
    meant = {*_IMAGE, *_LABEL, *(n for names in _OPTIONAL.values() for n in names)}
    for cells, wanted in _CELLS:
        if cells != "geometry":
            meant |= {n for names in wanted for n in names}
    return bool(plain) and (plain in WKT_NAMES or plain not in meant)


def find_columns(file: Path, rows: Rows, label: str | None = None) -> tuple[Columns, Rows]:
    """The columns of a table, and its rows without the header, each of the same number of cells.

    Args:
        file: for messages.
        rows: of the table.
        label: the name of the class's column, or "=" and the one class of all; None looks for it.

    Raises:
        DataError: the columns can't be told apart, or a row has more or fewer.
    """
    columns = recognize(rows)
    if columns is None:
        shown = ",".join(rows[0][1])[:120] if rows else ""
        line = rows[0][0] if rows else 1
        raise DataError(f"{file}, line {line}: no columns of boxes in {shown!r}. {_WANTED}.")
    if label is not None:
        columns = replace(columns, label=_named(file, rows, columns, label))
    _expect_columns(file, rows, columns, classes=label is None)
    width = len(columns.names)
    rows = rows[columns.header :]
    for line, cells in rows:
        if len(cells) != width and any(cells[1:]):
            raise DataError(
                f"{file}, line {line}: {len(cells)} columns. Expected {width}: "
                f"{','.join(columns.names)}."
            )
    return columns, [(line, cells + [""] * (width - len(cells))) for line, cells in rows]


def recognize(rows: Rows) -> Columns | None:
    """The columns of a table that its first rows show, None where they show none.

    A part of a header is recognized as well: what it lacks has the place -1.
    """
    if not rows:
        return None
    header = [_plain(cell) for cell in rows[0][1]]
    for cells, wanted in _CELLS:
        taken: list[int] = []
        for names in wanted:
            taken.append(_place(header, names, taken))
        found = sum(place >= 0 for place in taken)
        if found == len(wanted) or (cells == "corners" and found > 1 and taken[2:] != [-1, -1]):
            others = {name: _place(header, a, taken) for name, a in _OPTIONAL.items()}
            others = {name: place for name, place in others.items() if place >= 0}
            label = _place(header, _LABEL, taken)
            image = _place(header, _IMAGE, [*taken, label])
            image = image if image >= 0 else _column_of_images(rows[1:], len(header))
            names = tuple(rows[0][1])
            return Columns(
                cells, tuple(taken), image, label if label >= 0 else None, others, names, True
            )
    return _without_header(rows)


def _column_of_images(rows: Rows, count: int) -> int:
    """The column in which each row has the name of an image, whatever it is called; else -1."""
    some = [cells for _, cells in rows[:20] if len(cells) == count]
    for place in range(count if some else 0):
        if all(_is_image(cells[place]) for cells in some):
            return place
    return -1


def _without_header(rows: Rows) -> Columns | None:
    """Columns that are known by what is in them: the first rows that are full decide."""
    full = [cells for _, cells in rows[:100] if len(cells) >= 6 and any(cells[1:])][:20]
    if not full:
        longest = max(len(cells) for _, cells in rows)
        lone = longest in (1, 6, 8) and all(_is_image(cells[0]) for _, cells in rows[:20])
        return _plain_columns(longest) if lone else None
    count = len(full[0])
    full = [cells for cells in full if len(cells) == count]
    if count == 8 and all(_is_image(c[5]) and _are_numbers(c[1:5]) for c in full):
        names = ("label", "x", "y", "width", "height", "image", "image_width", "image_height")
        return Columns("sides", (1, 2, 3, 4), 5, 0, {"width": 6, "height": 7}, names, False)
    if count in (6, 8) and all(_is_image(c[0]) or _are_numbers(c[1:5]) for c in full):
        return _plain_columns(count)
    return None


def _plain_columns(count: int) -> Columns:
    """`image,x1,y1,x2,y2,class`, and SKU-110K's with the image's width and height after it."""
    names = ("image", "x1", "y1", "x2", "y2", "class", "width", "height")[: 8 if count == 8 else 6]
    others = {"width": 6, "height": 7} if count == 8 else {}
    return Columns("corners", (1, 2, 3, 4), 0, 5, others, names, False)


def _named(file: Path, rows: Rows, columns: Columns, label: str) -> int | None:
    """The place of the column that was named for the class; None where all are of one.

    Raises:
        DataError: there is no such column.
    """
    if label.startswith("="):
        return None
    if not columns.header or label not in columns.names:
        names = ", ".join(columns.names) if columns.header else "not named: there is no header"
        raise DataError(
            f"{file}, line {rows[0][0]}: no column {label!r}. Its columns are {names}: "
            '--class-column NAME (in Python class_column="NAME").'
        )
    return columns.names.index(label)


def _expect_columns(file: Path, rows: Rows, columns: Columns, *, classes: bool) -> None:
    """Stop where a header lacks what is needed; a class may lack where no column could be it."""
    missing = [name for name, place in (("the image", columns.image),) if place < 0]
    corners = ("xmin", "ymin", "xmax", "ymax")
    if columns.cells == "corners":
        missing += [name for name, place in zip(corners, columns.box, strict=True) if place < 0]
    known = {columns.image, *columns.box, *columns.others.values()}
    strange = [
        name
        for place, name in enumerate(columns.names)
        if place not in known and _plain(name) not in _SHARED and name
    ]
    if (
        classes
        and columns.label is None
        and (strange or columns.cells in ("corners", "sides", "center"))
    ):
        missing.append("the class")
    if missing:
        raise DataError(
            f"{file}, line {rows[0][0]}: no column for {', '.join(missing)} in "
            f"{','.join(columns.names)}. {_WANTED}.{_class_advice(missing)}"
        )


def _class_advice(missing: Sequence[str]) -> str:
    if "the class" not in missing:
        return ""
    return (
        ' Say which column is the class: --class-column NAME (in Python class_column="NAME"); or '
        "give all objects one class: --class-column =CLASS."
    )


def _plain(cell: str) -> str:
    """The name of a column in lower case, words joined with _."""
    return re.sub(r"[\s\-.]+", "_", cell.strip(" '\"#").lower())


def _place(header: list[str], names: Sequence[str], taken: Sequence[int]) -> int:
    """Where the first of some names stands in a header, but for places taken; -1 without one."""
    for name in names:
        if name in header and header.index(name) not in taken:
            return header.index(name)
    return -1


def _is_image(text: str) -> bool:
    return text.lower().endswith(IMAGE_ENDINGS)


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(parse_number(c) is not None or c.lower() in NOTHING for c in cells)


def _numbers(text: str, count: int) -> list[float] | None:
    """The numbers in a text such as "[1, 2, 3.5, 4]", None where there are more or fewer."""
    found = [float(number) for number in _NUMBER.findall(text)]
    return found if len(found) == count else None


def _extent(text: str) -> list[list[float]] | None:
    """The extent of a polygon in WKT; points and lines have no box."""
    kind, _, rest = text.upper().partition("(")
    if "EMPTY" in kind:
        return []
    if kind.split()[:1] not in (["POLYGON"], ["MULTIPOLYGON"], ["BOX"]):
        return None
    size = 3 if " Z" in kind else 2
    points = [[float(n) for n in _NUMBER.findall(pair)][:size] for pair in rest.split(",")]
    if not points or any(len(point) < 2 for point in points):
        return None
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    return [[min(xs), min(ys), max(xs), max(ys)]]

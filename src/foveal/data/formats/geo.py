"""Shapes on the map as labels: a vector file beside its image, or one for many images.

`scene.gpkg` (or .geojson, .shp, .fgb) labels `scene.tif`. A file that is called otherwise labels
the images that a column of it names, else every image on the map in which its shapes lie. Shapes
may be in any coordinate reference system; a box is the extent of a shape's vertices in pixels.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from foveal.data.dataset import Dataset
from foveal.data.folders import files_below, files_in, folders_in
from foveal.data.formats.class_names import (
    Labels,
    class_file,
    class_source,
    found_classes,
    write_class_file,
)
from foveal.data.formats.geo_placing import Scene, overlapping, place_shapes, scene_of
from foveal.data.formats.image_files import data_root
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.records import ImageRow, ObjectTable, assemble
from foveal.data.formats.splits import advise_splits, split_folders, take_split
from foveal.data.formats.table_columns import NO_CLASS
from foveal.data.formats.vector_files import (
    ENDINGS,
    VectorLayer,
    flat_shapes,
    is_feature_collection,
    outlines,
    read_layer,
    write_boxes,
)
from foveal.data.formats.writing import class_name, image_names, parts, place_images
from foveal.data.images.kinds import has_image_ending
from foveal.errors import DataError
from foveal.text import counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from foveal.data.formats.writing import ImageMode

_CLASS_NAMES = (
    "class", "label", "category", "class_name", "classname", "label_name", "category_name", "cls",
    "object_class", "class_label", "klass", "classes", "labels",
)  # fmt: skip
"""Columns that hold a class, whatever else there is."""
_MAYBE_CLASS = (
    "name", "type", "kind", "species", "object", "target", "object_type", "class_id", "category_id",
    "label_id", "code", "id_class",
)  # fmt: skip
"""Columns that may hold a class, where no other does."""
_IMAGE_NAMES = (
    "image", "image_path", "image_name", "filename", "file_name", "file", "img", "img_name",
    "image_id", "source", "source_file", "location", "path", "raster", "scene", "tile",
)  # fmt: skip
_IGNORED = ("ignored", "ignore", "difficult", "iscrowd")
_LONGEST = 300
"""Letters of a path in a message."""
_TRUE = frozenset({"1", "1.0", "true", "yes"})


class _Labeled(NamedTuple):
    """Some features of a layer in an image, by their indices.

    `shared` is set where the image is one of several on the map, none of them named by the layer:
    then shapes may lie elsewhere, or be cut by the border.
    """

    layer: int
    image: Path
    features: NDArray[np.int64]
    shared: bool


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read vector files and find where in their images the shapes lie.

    The class stands in the column that the policy names, else in one that is called as usual; "=x"
    gives all objects the class x. Classes are in the order of `labels.txt` or `classes.txt`, else
    sorted. A column `ignored` marks regions to ignore; all other attributes are kept as flags, and
    outlines that are no upright boxes as `segmentation`. Images without a vector file of their own
    name are left out, unless their file labels many images.

    Raises:
        DataError: a file can't be read, an image is missing, the class is not found, or the shapes
            lie elsewhere on the map.
        MissingExtraError: pyogrio, pyproj or shapely is not installed.
    """
    policy = policy or IssuePolicy()
    files = _label_files(path, split)
    layers = [read_layer(file, policy.layer) for file in files]
    for layer in layers:
        for note in layer.notes:
            policy.note(note, file=layer.file, place=f"layer {layer.name}")
    if policy.problems is not None and not any(map(len, layers)):
        _report_empty(layers, policy)
    finder = _ImageFinder(path if path.is_dir() else path.parent, images)
    labeled = list(itertools.chain.from_iterable(_pair(layers, finder, policy)))
    folders = dict.fromkeys((files[0].parent, *files[0].parents[:2]))
    listing = next((folder for folder in folders if class_file(folder)), files[0].parent)
    classes = class_file(listing)
    named = [_class_names(layer, classes, policy) for layer in layers]
    classes = classes or found_classes(itertools.chain.from_iterable(named))
    labels = Labels(classes, policy, source=class_source(listing))
    scenes = {image: scene_of(image) for image in dict.fromkeys(entry.image for entry in labeled)}
    index = {image: number for number, image in enumerate(scenes)}
    table = ObjectTable("feature", written=None)
    columns: list[tuple[int, dict[str, list[Any]]]] = []
    taken: list[NDArray[np.int64]] = [np.zeros(len(layer), np.int64) for layer in layers]
    for entry in labeled:
        layer, scene = layers[entry.layer], scenes[entry.image]
        features, boxes, shapes = _in_image(layer, entry, scene, policy)
        taken[entry.layer][features] += 1
        numbers = layer.numbers[features].tolist()
        found = [
            labels.of(name, file=layer.file, place=f"feature {number}", image=entry.image)
            for name, number in zip(
                (named[entry.layer][i] for i in features.tolist()), numbers, strict=True
            )
        ]
        known = [(i, label) for i, label in enumerate(found) if label is not None]
        keep = [i for i, _ in known]
        marks = _ignored(layer)
        chosen = features[keep].tolist()
        table.image.extend([index[entry.image]] * len(keep))
        table.boxes.extend(boxes[keep].tolist())
        table.labels.extend(label for _, label in known)
        table.ignored.extend(
            marks[i] or label < 0 for i, (_, label) in zip(chosen, known, strict=True)
        )
        table.files.extend([layer.file] * len(keep))
        table.numbers.extend(numbers[k] for k in keep)
        own = {n: [values[i] for i in chosen] for n, values in _flags(layer, policy).items()}
        if any(shape is not None for shape in shapes):
            own["segmentation"] = [shapes[k] for k in keep]
        columns.append((len(keep), own))
    _tell_shared(layers, labeled, taken, policy)
    table.flags = _joined(columns)
    rows = [ImageRow(scene.path, scene.width, scene.height) for scene in scenes.values()]
    records = assemble(rows, table, policy)
    policy.close()
    return Dataset(records, classes, images or finder.root)


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write each image with a GeoPackage beside it, in a folder for each split, and `labels.txt`.

    Boxes are polygons of four corners in the image's own coordinate reference system, in pixels
    where it has none. Attributes are the class, `ignored` and all flags of texts or numbers.

    Raises:
        ImageError: an image does not exist.
        MissingExtraError: pyogrio or shapely is not installed.
    """
    names = image_names(data.records)
    for part, indices in parts(data, splits, "").items():
        place = folder / part
        chosen = [data.records[i] for i in indices]
        own = [names[i] for i in indices]
        place_images(chosen, own, place, images=images)
        for record, name in zip(chosen, own, strict=True):
            columns: dict[str, Sequence[Any]] = {
                "class": [class_name(label, data.classes) for label in record.labels.tolist()]
            }
            if record.ignored.any():
                columns["ignored"] = record.ignored.astype(np.int32).tolist()
            columns |= _attributes(record.flags, taken=tuple(columns))
            write_boxes(
                place / f"{Path(name).stem}.gpkg",
                record.boxes,
                columns,
                georeference=scene_of(place / name).georeference,
            )
    write_class_file(folder, data.classes)


# Files and images -----------------------------------------------------------------------------


def _label_files(path: Path, split: str | None) -> list[Path]:
    """The vector files of a data set, or of a split of it.

    Raises:
        DataError: there are none, or a split has to be named.
    """
    if path.is_file():
        if split is not None:
            raise DataError(
                f"{path} is one file and has no split {split!r}. Name the split's own file, or "
                "the folder that holds it."
            )
        return [_beside(path)] if has_image_ending(path.name) else [path]
    files = vector_files_in(path)
    if split is None:
        named = split_folders(path)
        files = files or [f for f in _deeper(path) if not any(s in f.parents for s in named)]
        if not files and named:
            raise DataError(f"{path}: {advise_splits(path, [folder.name for folder in named])}")
        if not files:
            raise DataError(
                f"{path}: no shapes on a map. Expected {', '.join(ENDINGS)} there or in a folder "
                "below."
            )
        return files
    below = _deeper(path)

    def choose(name: str) -> Sequence[Path]:
        own = [file for file in below if name in file.relative_to(path).parts[:-1]]
        return own or [file for file in files if file.stem == name]

    _, chosen = take_split(split, path, choose)
    if not chosen:
        there = ", ".join(str(f.relative_to(path)) for f in [*files, *below][:20]) or "none"
        raise DataError(
            f"{path}: no vector files of a split {split!r}. Expected a folder or a file of that "
            f"name. Vector files there: {there}."
        )
    return list(chosen)


def vector_files_in(folder: Path) -> list[Path]:
    """The files of a folder that hold shapes on a map, GeoJSON that is called .json included."""
    found = files_in(folder, *ENDINGS)
    return found + [file for file in files_in(folder, ".json") if is_feature_collection(file)]


def _deeper(folder: Path) -> list[Path]:
    """The vector files of the folders one and two below."""
    below = folders_in(folder)
    deeper = [inner for outer in below for inner in folders_in(outer)]
    return [file for place in (*below, *deeper) for file in vector_files_in(place)]


def _beside(image: Path) -> Path:
    """The vector file of an image's own name.

    Raises:
        DataError: there is none, or there are several.
    """
    own = [file for file in vector_files_in(image.parent) if file.stem == image.stem]
    if len(own) == 1:
        return own[0]
    what = f"there are {listed([f.name for f in own], 9)}" if own else "there is none"
    raise DataError(f"{image}: expected one vector file of its name beside it, and {what}.")


class _ImageFinder:
    """The images that vector files may label: beside them and in folders near by."""

    def __init__(self, folder: Path, images: Path | None) -> None:
        if images is not None and not images.is_dir():
            raise DataError(f"The image folder {images} does not exist or is not a folder.")
        self.root = data_root(folder)
        self._given = images
        self._all: list[Path] | None = None

    @property
    def all(self) -> list[Path]:
        """Every image there, sorted."""
        if self._all is None:
            if self._given is not None:
                found: Iterable[Path] = files_below(self._given)
            else:
                below = folders_in(self.root)
                deeper = [inner for outer in below for inner in folders_in(outer)]
                places = (self.root, *below, *deeper)
                found = itertools.chain.from_iterable(map(files_in, places))
            self._all = [file for file in found if has_image_ending(file.name)]
        return self._all

    def own(self, file: Path) -> list[Path]:
        """The images of a vector file's name.

        Those beside it, or in folders nearer to its own, go before others.
        """
        beside: list[Path] = (
            [] if self._given else [f for f in files_in(file.parent) if f.stem == file.stem]
        )
        found = [f for f in beside if has_image_ending(f.name)]
        if not found:
            found = [image for image in self.all if image.stem == file.stem]
        if len(found) > 1:
            common = [len(Path(os.path.commonpath((image, file))).parts) for image in found]
            near = [i for i, n in zip(found, common, strict=True) if n == max(common)]
            found = [i for i in near if i.parent.name == file.parent.name] or near
        return found

    def called(self, names: Iterable[str]) -> dict[str, Path]:
        """The images that names with or without folders mean, where it is one."""
        by_name: dict[str, list[Path]] = {}
        for image in self.all:
            by_name.setdefault(image.name, []).append(image)
            by_name.setdefault(image.stem, []).append(image)
        found = {}
        for name in names:
            parts_of = [part for part in name.replace("\\", "/").split("/") if part]
            hits = by_name.get(parts_of[-1], []) if parts_of else []
            if len(hits) > 1:
                hits = [hit for hit in hits if hit.as_posix().endswith("/".join(parts_of))]
            if len(hits) == 1:
                found[name] = hits[0]
        return found


def _pair(
    layers: Sequence[VectorLayer], finder: _ImageFinder, policy: IssuePolicy
) -> Iterable[list[_Labeled]]:
    """Which features belong to which image: by a column, by the file's name, or by the map.

    Raises:
        DataError: there is no image, or a name means several.
    """
    owned: set[Path] = set()
    left: list[int] = []
    for number, layer in enumerate(layers):
        named = _by_column(number, layer, finder, policy)
        if named:
            owned.update(entry.image for entry in named)
            yield named
            continue
        own = finder.own(layer.file)
        if len(own) > 1:
            which = listed([str(path) for path in own], 4, longest=_LONGEST)
            raise DataError(
                f"{layer.file}: its image is one of {which}. Expected one. Say which "
                "folder: --images FOLDER (in Python images=FOLDER)."
            )
        if own:
            owned.update(own)
            yield [_Labeled(number, own[0], np.arange(len(layer)), shared=False)]
        else:
            left.append(number)
    others = [image for image in finder.all if image not in owned] if left else []
    for number in left:
        layer = layers[number]
        if not others:
            written = {text for _, texts in _image_columns(layer) for text in texts if text}
            says = f" It names {listed(sorted(written), 2)}." if written else ""
            raise DataError(
                f"{layer.file}: no image found for it.{says} Expected {layer.file.stem}.tif beside "
                "it, images that a column names, or images on the map in its folder. If they are "
                "elsewhere, name their folder: --images FOLDER (in Python images=FOLDER)."
            )
        several = len(others) > 1
        if several:
            scenes = [scene_of(image) for image in others]
            on_map = [scene for scene in scenes if scene.georeference is not None]
            if not on_map:
                raise DataError(
                    f"{layer.file}: none of the {len(others)} images there has a place on the map, "
                    f"as {others[0].name}, and none has the file's name. Expected GeoTIFFs, or "
                    f"{layer.file.stem}.tif."
                )
            yield [
                _Labeled(number, scene.path, overlapping(layer, scene), shared=True)
                for scene in on_map
            ]
        else:
            policy.note(
                f"Its shapes are taken to lie in {others[0].name}, the only image there",
                file=layer.file,
                place=f"layer {layer.name}",
            )
            yield [_Labeled(number, others[0], np.arange(len(layer)), shared=False)]


def _by_column(
    number: int, layer: VectorLayer, finder: _ImageFinder, policy: IssuePolicy
) -> list[_Labeled]:
    """The features of the images that a column names; none where no column names one of them."""
    for column, texts in _image_columns(layer):
        found = finder.called(set(texts) - {""})
        if not found:
            continue
        lost = [i for i, text in enumerate(texts) if text not in found]
        for i in lost:
            message = (
                f"{column} names the image {texts[i]!r}, which is not there. Expected it in "
                f"{finder.root}, or in a folder that you name: --images FOLDER (in Python "
                "images=FOLDER)."
            )
            place = f"feature {layer.numbers[i]}"
            policy.report(AnnotationIssue("unknown image", layer.file, place, message))
        where = np.array([text in found for text in texts])
        paths = np.array([str(found.get(text, "")) for text in texts])
        return [
            _Labeled(number, Path(path), np.flatnonzero(where & (paths == path)), shared=False)
            for path in sorted(set(paths[where].tolist()))
        ]
    return []


def _image_columns(layer: VectorLayer) -> Iterator[tuple[str, list[str]]]:
    """The columns that name images, with what stands in them, "" for nothing."""
    folded = {name.casefold(): name for name in layer.columns}
    for usual in _IMAGE_NAMES:
        column = folded.get(usual)
        values = layer.columns[column] if column is not None else []
        texts = ["" if value is None else str(value) for value in values]
        if column is not None and any(map(has_image_ending, texts)):
            yield column, texts


# Classes and attributes -----------------------------------------------------------------------


def _class_column(layer: VectorLayer, policy: IssuePolicy) -> str | None:
    """The column of the class; None where there is none.

    Raises:
        DataError: the one that was named is not there, or several may be meant.
    """
    wanted = policy.class_column
    if wanted is not None:
        if wanted not in layer.columns:
            raise DataError(
                f"{layer.file} has no column {wanted!r}. Its columns are "
                f"{listed(list(layer.columns), 30) or 'none'}: --class-column NAME (in Python "
                'class_column="NAME").'
            )
        return wanted
    filled = {
        name.casefold(): name
        for name, values in layer.columns.items()
        if any(value is not None for value in values)
    }
    for names in (_CLASS_NAMES, _MAYBE_CLASS):
        there = [filled[name] for name in names if name in filled]
        texts = [name for name in there if any(isinstance(v, str) for v in layer.columns[name])]
        if len(texts) == 1 < len(there):  # beside the names there are their numbers
            there = texts
        if len(there) > 1:
            shown = " or ".join(f"{name!r} ({_example(layer, name)})" for name in there)
            raise DataError(
                f"{layer.file}: the class may be in {shown}. Say where: "
                f"--class-column {there[0]} (in Python class_column={there[0]!r})."
            )
        if there:
            if names is _MAYBE_CLASS:
                what = f"The class is taken from the column {there[0]!r}"
                policy.note(what, file=layer.file, place=f"layer {layer.name}")
            return there[0]
    return None


def _example(layer: VectorLayer, column: str) -> str:
    """The values that a column begins with."""
    values = dict.fromkeys(str(v) for v in layer.columns[column][:1000] if v is not None)
    return listed(list(values), 2)


def _class_names(layer: VectorLayer, classes: tuple[str, ...], policy: IssuePolicy) -> list[str]:
    """The class that each feature names, "" where it names none.

    Raises:
        DataError: no column can be the class.
    """
    if policy.class_column is not None and policy.class_column.startswith("="):
        return [policy.class_column[1:]] * len(layer)
    if not len(layer):
        return []
    column = _class_column(layer, policy)
    if column is not None:
        return [_name(value, classes) for value in layer.columns[column]]
    if len(classes) == 1:
        what = f"No column for the class: all are {classes[0]!r}, the only one that is listed"
        policy.note(what, file=layer.file, place=f"layer {layer.name}")
        return [classes[0]] * len(layer)
    raise DataError(
        f"{layer.file}: no column for the class. Its columns are "
        f"{listed(list(layer.columns), 30) or 'none'}. Say which one holds it: --class-column NAME "
        '(in Python class_column="NAME"); or give all objects one class: --class-column =CLASS.'
    )


def _name(value: Any, listed_ones: tuple[str, ...]) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if value is None else str(value).strip()
    return "" if text.lower() in NO_CLASS and text not in listed_ones else text


def _ignored(layer: VectorLayer) -> list[bool]:
    for name, values in layer.columns.items():
        if name.casefold() in _IGNORED:
            return [str(value).lower() in _TRUE for value in values]
    return [False] * len(layer)


def _flags(layer: VectorLayer, policy: IssuePolicy) -> dict[str, list[Any]]:
    """The attributes that are neither the class nor the mark of regions to ignore."""
    constant = (policy.class_column or "").startswith("=")
    column = None if constant or not len(layer) else _class_column(layer, policy)
    return {
        name: values
        for name, values in layer.columns.items()
        if name != column and name.casefold() not in _IGNORED
    }


def _joined(parts_of: Sequence[tuple[int, Mapping[str, list[Any]]]]) -> dict[str, list[Any]]:
    """One column of each name of (objects, their attributes); None where one has none of it."""
    names = dict.fromkeys(name for _, columns in parts_of for name in columns)
    return {
        name: [value for count, columns in parts_of for value in columns.get(name, [None] * count)]
        for name in names
    }


def _attributes(
    flags: Mapping[str, Sequence[Any]], *, taken: Sequence[str]
) -> dict[str, Sequence[Any]]:
    """The flags that a layer can hold; what would be read as something else gets another name."""
    reserved = {*taken, *_CLASS_NAMES, *_IMAGE_NAMES, *_IGNORED, "fid", "ogc_fid", "geom"}
    found: dict[str, Sequence[Any]] = {}
    for name, values in flags.items():
        if name == "segmentation" or not _is_plain(values):
            continue
        own = f"original_{name}" if name.casefold() in reserved else name
        while own.casefold() in {other.casefold() for other in found}:
            own += "_"
        found[own] = values
    return found


def _is_plain(values: Sequence[Any]) -> bool:
    """Whether an attribute can be written: texts or numbers of one kind, or nothing."""
    kinds = {type(value) for value in values} - {type(None)}
    return kinds <= {str} or kinds <= {int, float} or kinds <= {bool}


# Shapes ---------------------------------------------------------------------------------------


def _in_image(
    layer: VectorLayer, entry: _Labeled, scene: Scene, policy: IssuePolicy
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[Any]]:
    """Which features of a layer have a box in an image, their boxes, and outlines that are none."""
    features = entry.features
    flat = flat_shapes(layer.shapes[features])
    if len(features) and flat.all() and len(features) == len(layer):
        _refuse_flat(layer)
    for i in features[flat].tolist():
        _report_flat(layer, i, scene.path, policy)
    features = features[~flat]
    shapes = layer.shapes[features]
    placed = place_shapes(layer, features, scene, policy, shared=entry.shared)
    if placed is None:
        return np.zeros(0, np.int64), np.zeros((0, 4)), []
    boxes, move = placed
    if policy.problems is not None:
        _report_invalid(layer, features, scene.path, policy)
    if entry.shared:
        limits = np.array([scene.width, scene.height] * 2, np.float64)
        with np.errstate(invalid="ignore"):
            cut = np.clip(boxes, 0, limits)
            inside = (cut[:, 2:] > cut[:, :2]).all(axis=1)
            crossing = inside & (np.abs(cut - boxes) > 1).any(axis=1)
        if crossing.any():
            what = "Objects at the border of their image, cut there"
            place = f"feature {layer.numbers[features[crossing][0]]}"
            policy.note(what, file=layer.file, place=place, count=int(crossing.sum()))
        features, boxes, shapes = features[inside], cut[inside], shapes[inside]
    return features, boxes, outlines(shapes, move, boxes)


def _refuse_flat(layer: VectorLayer) -> None:
    """Raise where a layer has no shape with an extent."""
    kinds = sorted({_kind(shape) for shape in layer.shapes})
    raise DataError(
        f"{layer.file}: it holds {listed(kinds, 5)} alone, which have no box. Expected polygons or "
        "boxes. Make boxes of points in a map program, such as QGIS: Rectangles, ovals, diamonds."
    )


def _report_flat(layer: VectorLayer, index: int, image: Path, policy: IssuePolicy) -> None:
    message = f"{_kind(layer.shapes[index])} has no box. Expected a polygon or a box."
    place = f"feature {layer.numbers[index]}"
    policy.report(AnnotationIssue("no box", layer.file, place, message, image))


def _kind(shape: Any) -> str:
    return "null geometry" if shape is None else str(shape.geom_type)


def _report_invalid(
    layer: VectorLayer, features: NDArray[np.int64], image: Path, policy: IssuePolicy
) -> None:
    import shapely

    for i in features[~shapely.is_valid(layer.shapes[features])].tolist():
        why = shapely.is_valid_reason(layer.shapes[i])
        message = f"the polygon is invalid ({why}). Its box is that of its vertices."
        place = f"feature {layer.numbers[i]}"
        policy.report(AnnotationIssue("invalid polygon", layer.file, place, message, image))


def _report_empty(layers: Sequence[VectorLayer], policy: IssuePolicy) -> None:
    for layer in layers:
        message = "there are no objects in it. Expected polygons or boxes."
        place = f"layer {layer.name}"
        policy.report(AnnotationIssue("empty layer", layer.file, place, message))


def _tell_shared(
    layers: Sequence[VectorLayer],
    labeled: Sequence[_Labeled],
    taken: Sequence[NDArray[np.int64]],
    policy: IssuePolicy,
) -> None:
    """Say how many objects of files for many images lie in none of them, or in several.

    Raises:
        DataError: none lies in any image.
    """
    for number in sorted({entry.layer for entry in labeled if entry.shared}):
        layer, counts = layers[number], taken[number]
        full = ~flat_shapes(layer.shapes)
        images = sum(entry.layer == number for entry in labeled)
        if full.any() and not counts[full].any():
            first = next(entry for entry in labeled if entry.layer == number)
            place_shapes(layer, np.flatnonzero(full), scene_of(first.image), policy, shared=False)
        for mask, what in (
            (full & (counts == 0), f"Objects in none of the {counted(images, 'image')}, left out"),
            (counts > 1, "Objects in several images, which overlap: they belong to each"),
        ):
            if mask.any():
                place = f"feature {layer.numbers[np.argmax(mask)]}"
                policy.note(what, file=layer.file, place=place, count=int(mask.sum()))

"""GDAL's virtual rasters (VRT): which files one names, looked at before GDAL opens any of them.

A VRT is a text that names other files, servers and programs. Only what lays images of its own
folder side by side is taken; all else is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.data.images.kinds import kind_of
from foveal.errors import ImageError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_LARGEST = 64 << 20
"""Bytes of a VRT: one of 100,000 files has less."""

_SOURCE = "SourceFilename"
_ELEMENTS = frozenset((
    "VRTDataset", "SRS", "GeoTransform", "GCPList", "GCP", "Metadata", "MDI", "VRTRasterBand",
    "ColorInterp", "NoDataValue", "HideNoDataValue", "UnitType", "Offset", "Scale", "Description",
    "CategoryNames", "Category", "ColorTable", "Entry", "Histograms", "HistItem", "HistMin",
    "HistMax", "BucketCount", "IncludeOutOfRange", "Approximate", "HistCounts", "SimpleSource",
    "ComplexSource", "AveragedSource", _SOURCE, "SourceBand", "SourceProperties", "SrcRect",
    "DstRect", "NODATA", "ScaleOffset", "ScaleRatio", "ColorTableComponent", "UseMaskBand", "LUT",
    "MaskBand", "OverviewList", "BlockXSize", "BlockYSize",
))  # fmt: skip
"""What lays images side by side."""


def is_virtual(beginning: bytes) -> bool:
    """Whether a file is a virtual raster, by its first bytes."""
    return beginning.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<VRTDataset", b"<?xml"))


def files_of(path: Path) -> tuple[Path, ...]:
    """A file, and what it names where it is a virtual raster, at any depth; each once.

    Args:
        path: a file that `check_virtual` has nothing against, or any that is no virtual raster.

    Raises:
        ImageError: it is a virtual raster and broken.
    """
    found: dict[Path, None] = {}
    left = [path]
    while left:
        file = left.pop()
        if file in found:
            continue
        found[file] = None
        try:
            with file.open("rb") as opened:
                virtual = is_virtual(opened.read(32))
        except OSError:  # whoever reads it says so
            continue
        if virtual:
            left += [_source_of(file, element) for element in _parse(file).iter(_SOURCE)]
    return tuple(found)


def check_virtual(path: Path) -> None:
    """Refuse a virtual raster that names anything but images in its own folder.

    Raises:
        ImageError: it does, it is broken, or it names a file that is missing.
    """
    _check(path, path.absolute().parent.resolve(), ())


def _check(path: Path, folder: Path, above: tuple[Path, ...]) -> None:
    here = path.absolute().resolve()
    if here in above:
        raise ImageError(
            f"{above[0]}: names itself as one of its parts. Make it anew: gdalbuildvrt."
        )
    tree = _parse(path)
    if tree.tag != "VRTDataset":
        raise ImageError(f"{path}: is no image: its text begins with <{tree.tag}>.")
    for element in tree.iter():
        kind = element.get("subClass", "")
        if element.tag not in _ELEMENTS or kind not in ("", "VRTSourcedRasterBand"):
            what = f"<{element.tag} subClass={kind!r}>" if kind else f"<{element.tag}>"
            raise ImageError(
                f"{path}: holds {what}, which does more than laying images side by side. Make an "
                "image of it: gdal_translate IN.vrt OUT.tif."
            )
    for element in tree.iter(_SOURCE):
        _check_source(path, element, folder, (*above, here))


def _check_source(path: Path, element: Element, folder: Path, above: tuple[Path, ...]) -> None:
    name, source = (element.text or "").strip(), _source_of(path, element)
    try:
        inside = source.resolve().is_relative_to(folder)
        there = source.is_file()
    except (OSError, ValueError):  # what is no path at all
        inside = there = False
    if not name or name.startswith("/vsi") or "://" in name or (there and not inside):
        raise ImageError(
            f"{path}: names {name!r}, which lies outside its folder. Expected images in "
            f"{folder}: nothing else is read. Move them there, or make an image of it: "
            "gdal_translate IN.vrt OUT.tif."
        )
    if not there:
        raise ImageError(
            f"{path}: names {name!r}, which does not exist. Fetch it, or make it anew."
        )
    with source.open("rb") as file:
        beginning = file.read(32)
    if is_virtual(beginning):
        _check(source, folder, above)
    elif kind_of(beginning) not in ("TIFF", "JPEG", "PNG", "JPEG2000"):
        raise ImageError(
            f"{path}: names {name!r}, which is no image that a virtual raster may hold. Expected "
            "TIFF, JPEG, PNG or JPEG 2000."
        )


def _source_of(path: Path, element: Element) -> Path:
    beside = element.get("relativeToVRT", "0") == "1"
    return (path.absolute().parent if beside else Path()) / (element.text or "").strip()


def _parse(path: Path) -> Element:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        if path.stat().st_size > _LARGEST:
            raise ImageError(
                f"{path}: is larger than any virtual raster. Expected less than 64 MB."
            )
        tree: Any = fromstring(path.read_bytes())
    except OSError as error:
        raise ImageError(f"{path}: can't be read ({error.strerror or error}).") from None
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise ImageError(
            f"{path}: is no image and no virtual raster that can be read ({error}). Make it anew: "
            "gdalbuildvrt."
        ) from None
    return tree  # pyrefly: ignore[no-any-return-explicit]

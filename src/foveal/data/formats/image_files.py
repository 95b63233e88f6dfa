"""Where the images named in annotations lie on disk: found by looking, never outside the data."""

# Strings are several times as fast as Path objects, for thousands of names:
# ruff: noqa: PTH100, PTH112, PTH113, PTH118, PTH119, PTH120, PTH122, PTH208
from __future__ import annotations

import logging
import os
import posixpath
import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from foveal.data.folders import files_below, is_junk
from foveal.data.formats.image_urls import is_address, names_in, uploaded_name
from foveal.data.formats.issues import AnnotationIssue
from foveal.data.images.kinds import (
    describe_endings,
    has_image_ending,
    is_image_file,
    lies_beside_images,
)
from foveal.data.images.pages import split_page_name
from foveal.errors import DataError
from foveal.text import as_name, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from foveal.data.formats.issues import IssuePolicy, Kind
    from foveal.data.formats.records import ImageRow

log = logging.getLogger(__name__)

IMAGE_FOLDERS = ("images", "JPEGImages", "image_2", "data", "imgs", "img")
"""Folders beside or above annotations in which people keep images."""

ANNOTATION_FOLDERS = frozenset({"annotations", "labels", "label_2", "imagesets", "annotation"})

_LONGEST = 4096
"""Characters of a path; no file system takes more."""

_DRIVE = re.compile(r"^[A-Za-z]:[/\\]")

_SPLITS = {
    "train": "training", "training": "training", "trainval": "training", "val": "validation",
    "valid": "validation", "validation": "validation", "dev": "validation", "test": "test",
    "testing": "test",
}  # fmt: skip
"""Names of folders and files that say which part of the data they hold."""

_BESIDE, _USUAL, _CALLED, _BELOW, _AWAY = range(5)
"""Kinds of folders: those that names are relative to; where people keep images; called after the
annotation file; any other one below the data folder; above it, and the working folder."""


def data_root(annotations: Path) -> Path:
    """The folder that a data set's images lie in or below: where its annotations are.

    For a file in a folder that only holds annotations (`annotations/train.json`) it is the folder
    above.
    """
    folder = annotations if annotations.is_dir() else annotations.parent
    if folder.name.lower() in ANNOTATION_FOLDERS and folder.parent != folder:
        return folder.parent
    return folder


@dataclass(frozen=True, slots=True)
class _Lost:
    """A name under which no image was found.

    Attributes:
        name: as it is written.
        parts: the folders in it, and the file's name.
        outside: how many of the parts lead out of the data, such as a drive and "..".
        leads_out: whether it is a path to somewhere outside.
        file, place: where it is written.
        several: the files that it may mean, where they are several.
    """

    name: str
    parts: tuple[str, ...]
    outside: int
    leads_out: bool
    file: Path
    place: str
    several: tuple[str, ...] = ()


class ImageFinder:
    """Finds images by the names that annotations give them.

    A name is relative to the image folder if one was given, else to the annotations' folder, to
    folders called `images` and the like, to folders called after the annotation file, and to the
    working folder. A name that may begin with that folder's own name does no harm. Links are
    followed.

    A file of the same name elsewhere is another image. It is taken for the named one only by
    `settle`, which knows all names: where each of those that can't be found as written is found
    below one other folder by the same replacement of its leading folders, as when a data set has
    moved. So every reader passes its rows through `settle`, which `sizes.measured` does. Where
    only capitals and small letters differ, and one file alone can be meant, it is taken.

    Attributes:
        root: the data folder.
        images: the image folder that the caller named, if any.
    """

    def __init__(
        self, annotations: Path, *, images: Path | None = None, more: Iterable[Path] = ()
    ) -> None:
        self.root = data_root(annotations)
        self.images = images
        folder = annotations if annotations.is_dir() else annotations.parent
        self._given = [*more, folder]
        self._file = annotations
        self._stem = annotations.stem if annotations.is_file() else ""
        self._listings: dict[str, frozenset[str]] = {}
        self._beside: dict[str, list[str]] = {}
        self._others: dict[str, dict[str, list[tuple[int, str]]]] = {}
        self._by_stem: dict[str, dict[str, list[str]]] = {}
        self._lost: dict[Path, _Lost] = {}
        self._told: set[str] = set()
        self._renamed: list[tuple[Path, str, str, Path]] = []
        self._doubled: list[tuple[Path, str, str, list[str]]] = []
        self._other_case: list[tuple[str, str, str]] = []
        self._by_folded: dict[str, dict[str, list[str]]] = {}
        if images is not None and not images.is_dir():
            raise DataError(f"The image folder {images} does not exist or is not a folder.")

    def find(self, name: object, *, file: Path, place: str) -> Path:
        """The absolute path of an image; where there is none, a path in the data at which none is.

        Args:
            name: the image's name as the annotations write it.
            file, place: where they write it, for messages.

        Raises:
            DataError: the name is not a file name.
        """
        text = _checked(name, file, place)
        found = self._exact(text, file, place)
        if found is None and text.endswith("]"):
            found = self._page(text, file, place)
        if found is None:
            found = self._in_other_case(text, place)
        return Path(found) if isinstance(found, str) else self._lose(text, file, place, found)

    def find_called(self, stem: str, *, ending: str, file: Path, place: str) -> Path:
        """The image of a name without its ending, of any ending; `ending` goes before the others.

        Raises:
            DataError: as `find`.
        """
        _checked(stem, file, place)
        found = self._exact(stem + ending, file, place)
        if isinstance(found, str):
            return Path(found)
        hits: list[str] = [] if found else self._of_any_ending(stem)
        if not found and not hits and (other := self._in_other_case(stem + ending, place)):
            hits = [other]
        if len(hits) == 1:
            return Path(hits[0])
        return self._lose(stem + ending, file, place, found or tuple(hits))

    def find_own(self, name: object, *, file: Path, place: str) -> Path:
        """The image of an annotation file that describes one image.

        The file goes with the image of its own name, of whatever ending. Where it names another
        one, one of the two was renamed, and the names of files are what people see: the image of
        the file's own name is taken, and `settle` says so.

        Args:
            name: the image's name in the file; empty or None where it says none.
            file: the annotation file.
            place: where in it the name stands.

        Raises:
            DataError: as `find`.
        """
        written = isinstance(name, str) and bool(name.strip())
        text = _checked(name, file, place) if written else f"{file.stem}.jpg"
        last = _meant(text).replace("\\", "/").rpartition("/")[2]
        agrees = _stem(last) == file.stem
        exact = self._exact(text, file, place)
        if agrees and isinstance(exact, str):
            return Path(exact)
        own = self._own(file, os.path.splitext(last)[1])
        if own is None:
            found = exact or self._in_other_case(text, place)
            return Path(found) if isinstance(found, str) else self._lose(text, file, place, found)
        if written and last not in (os.path.basename(own), file.stem):
            self._renamed.append((file, place, text, Path(own)))
        return Path(own)

    def settle(self, rows: Sequence[ImageRow], policy: IssuePolicy) -> list[ImageRow]:
        """The rows, those whose image was not found given it where all names leave no doubt.

        What was taken in another one's place is said once. What lies outside the data folder, or
        in two folders, is reported; everything else that is not there stays missing.

        Args:
            rows: all images of the data set, with the paths that this finder gave.
            policy: decides what becomes of what is reported.

        Raises:
            DataError: an image lies outside the data or in several folders, and the policy stops.
        """
        self._tell_renamed(policy)
        for place, written, own in self._other_case:
            what = "Names that differ from their files' in capitals were taken for them"
            policy.note(what, file=self._file, place=f"{place}, {written!r} for {own}")
        self._other_case.clear()
        if not self._lost:
            return list(rows)
        lost = {row.path: self._lost[row.path] for row in rows if row.path in self._lost}
        if not lost:
            return list(rows)
        claimed = {row.path.as_posix() for row in rows if row.path not in self._lost}
        taken = self._relocated(list(lost.values()), claimed, policy)
        left = {path: entry for path, entry in lost.items() if entry.name not in taken}
        top = self.images or self.root
        near = did_you_mean([path for path, entry in left.items() if entry.leads_out], top)
        for path, entry in left.items():
            self._report_lost(entry, path, policy, near=near.get(path, ""))
        return [
            row._replace(path=Path(taken[lost[row.path].name]))
            if row.path in lost and lost[row.path].name in taken
            else row
            for row in rows
        ]

    # A name as it is written -----------------------------------------------------------------

    def _exact(self, name: str, file: Path, place: str) -> str | tuple[str, ...] | None:
        """Where a name leads as it is written; several paths where that is not one place.

        Letters with accents are written as one sign or as two (macOS): the same name in either.
        """
        found = self._as_spelled(name, file, place)
        if found is not None or name.isascii():
            return found
        others = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
        there = (self._as_spelled(other, file, place) for other in others if other != name)
        return next((path for path in there if path is not None), None)

    def _as_spelled(self, name: str, file: Path, place: str) -> str | tuple[str, ...] | None:
        if (spelled := as_name(name)) != name:  # no text, in tables of ours
            found = self._as_spelled(spelled, file, place)
            if found is not None:
                return found
        if is_address(name):
            return self._exact_address(name, file, place)
        if "/" in name or "\\" in name or name in (".", ".."):
            return self._exact_path(name, file, place)
        return self._in_folders("", name, file, place)

    def _page(self, name: str, file: Path, place: str) -> str | tuple[str, ...] | None:
        """Where a page of a stack is, such as stack.tif[3], if the stack is there."""
        stack, page = split_page_name(name)
        found = None if page is None else self._exact(stack, file, place)
        return f"{found}[{page}]" if isinstance(found, str) else found

    def _exact_address(self, address: str, file: Path, place: str) -> str | tuple[str, ...] | None:
        """Where an address of the web or of a tool leads: by the names in it with their folders."""
        bare: set[str] = set()
        for name in names_in(address):
            found = None if name in bare else self._exact_path(name, file, place)
            if found is not None:
                return found
            bare.add(name.rpartition("/")[2])
        return None

    def _exact_path(self, name: str, file: Path, place: str) -> str | tuple[str, ...] | None:
        text = name.replace("\\", "/")
        if "\\" in name and os.name != "nt":
            found = self._in_folders("", name, file, place)
            if found is not None:
                return found
        if _leads_out(text):
            return self._inside(text)
        folder, _, last = posixpath.normpath(text).rpartition("/")
        return self._in_folders(folder, last, file, place)

    def _in_folders(
        self, folder: str, last: str, file: Path, place: str
    ) -> str | tuple[str, ...] | None:
        for path in self._beside_of(folder):
            if self._holds(path, last):
                return f"{path}/{last}"
        hits = self._others_of(folder).get(last, [])
        if not hits:
            return None
        for kind in (_CALLED, _USUAL, _AWAY):
            chosen = [path for tier, path in hits if tier == kind]
            if not chosen:
                continue
            paths = _different([f"{path}/{last}" for path in chosen])
            if len(paths) > 1:
                return tuple(paths)
            if kind != _CALLED and len(_different([f"{path}/{last}" for _, path in hits])) > 1:
                self._doubled.append((file, place, paths[0], [path for _, path in hits]))
            return paths[0]
        return None

    def _of_any_ending(self, stem: str) -> list[str]:
        """The images of a name without its ending, in the first kind of folder that has any."""
        text = stem.replace("\\", "/")
        if _leads_out(text):
            return []
        folder, _, last = posixpath.normpath(text).rpartition("/")
        for kind in (_BESIDE, _CALLED, _USUAL, _AWAY):
            bases = [base for other, base in self._bases if other == kind]
            paths = [path for base in bases for path in _joined(base, folder)]
            hits = [f"{path}/{name}" for path in paths for name in self._stems(path).get(last, [])]
            if hits:
                return _different(hits)
        return []

    def _in_other_case(self, name: str, place: str) -> str | None:
        """The one file in a name's folder that differs from it in capitals alone.

        So names that were written where the system does not tell capitals from small letters lead
        to their images where it does.
        """
        text = name.replace("\\", "/")
        if is_address(text) or _leads_out(text):
            return None
        folder, _, last = posixpath.normpath(text).rpartition("/")
        others = (hit for hits in self._others_of(folder).values() for hit in hits)
        paths = [path for kind, path in others if kind in (_CALLED, _USUAL, _AWAY)]
        hits = [
            f"{path}/{own}"
            for path in dict.fromkeys([*self._beside_of(folder), *paths])
            for own in self._folded(path).get(last.casefold(), [])
        ]
        hits = _different(hits)
        if len(hits) != 1:
            return None
        self._other_case.append((place, name, os.path.basename(hits[0])))
        return hits[0]

    def _folded(self, folder: str) -> dict[str, list[str]]:
        """The images of a folder by their names in small letters."""
        return self._by_key(folder, str.casefold, self._by_folded)

    def _holds(self, folder: str, name: str) -> bool:
        names = self._names(folder)
        if name in names:  # folders are seldom called like images
            return has_image_ending(name) or not os.path.isdir(f"{folder}/{name}")
        if name.endswith("]"):  # a page of a stack, such as stack.tif[3]
            stack, page = split_page_name(name)
            return page is not None and self._holds(folder, stack)
        # Where the system does not tell capitals from small letters, a listing says too little.
        return os.name == "nt" and os.path.isfile(f"{folder}/{name}")

    def _names(self, folder: str) -> frozenset[str]:
        """The names in a folder, none where there is no such folder; looked up once."""
        known = self._listings.get(folder)
        if known is None:
            try:
                known = frozenset(os.listdir(folder))
            except (OSError, ValueError):
                known = frozenset()
            self._listings[folder] = known
        return known

    def _beside_of(self, folder: str) -> list[str]:
        """A folder's name in each folder that names are relative to."""
        known = self._beside.get(folder)
        if known is None:
            bases = [path for kind, path in self._bases if kind == _BESIDE]
            known = [path for base in bases for path in _joined(base, folder)]
            self._beside[folder] = known
        return known

    def _others_of(self, folder: str) -> dict[str, list[tuple[int, str]]]:
        """The files of a folder's name in all other folders: by name, with the folder's kind."""
        known = self._others.get(folder)
        if known is None:
            known = {}
            for kind, base in self._bases:
                if kind in (_BESIDE, _BELOW) and folder:
                    continue
                if kind == _BESIDE:
                    continue
                for path in _joined(base, folder):
                    for name in self._names(path):
                        known.setdefault(name, []).append((kind, path))
            self._others[folder] = known
        return known

    def _inside(self, text: str) -> str | None:
        """The file at a path that is absolute or climbs, if it stays in a folder we may read."""
        if os.name != "nt" and _DRIVE.match(text):
            return None
        for _, base in self._bases:
            path = os.path.normpath(os.path.join(base, text))
            if any(_is_below(path, folder) for folder in self._allowed) and os.path.isfile(path):
                return path
        return None

    def _own(self, file: Path, ending: str) -> str | None:
        """The image of an annotation file's own name, None where there is none or several."""
        parent, stem = _absolute(file.parent), file.stem
        bases = [base for kind, base in self._bases if kind in (_BESIDE, _USUAL)]
        folders = [parent] if self.images is None else []
        for base in bases:  # Annotations/day/a.xml goes with JPEGImages/day/a.jpg
            if parent.startswith(f"{base}/"):
                folders += [f"{other}/{parent[len(base) + 1 :]}" for other in bases]
        for folder in dict.fromkeys([*folders, *bases]):
            names = self._stems(folder).get(stem, [])
            if not names:
                continue
            same = [name for name in names if name.endswith(ending)] if ending else []
            names = same or names
            return f"{folder}/{names[0]}" if len(names) == 1 else None
        return None

    def _stems(self, folder: str) -> dict[str, list[str]]:
        """The images of a folder by their names without ending."""
        return self._by_key(folder, _stem, self._by_stem)

    def _by_key(
        self, folder: str, key: Callable[[str], str], known: dict[str, dict[str, list[str]]]
    ) -> dict[str, list[str]]:
        """The images of a folder by a key of their names; `known` keeps them for the next time."""
        if folder not in known:
            names: dict[str, list[str]] = {}
            for name in sorted(self._names(folder)):
                if has_image_ending(name) and not is_junk(name):
                    names.setdefault(key(name), []).append(name)
            known[folder] = names
        return known[folder]

    # Folders ---------------------------------------------------------------------------------

    @cached_property
    def _allowed(self) -> list[str]:
        working = Path.cwd()
        folders = [self.images] if self.images else []
        chosen = [*folders, self.root, *([working] if working != working.parent else [])]
        return [os.path.abspath(folder) for folder in chosen]

    @cached_property
    def _bases(self) -> list[tuple[int, str]]:
        """The folders in which names are looked up, with their kinds, best first."""
        if self.images is not None:
            top = _absolute(self.images)
            return [(_BESIDE, top), *((_BELOW, path) for path in self._folders_in(top))]
        root = _absolute(self.root)
        above = os.path.dirname(root)
        found = [(_BESIDE, _absolute(path)) for path in self._given]
        usual = [root, *self._usual(root)]
        for folder in dict.fromkeys(map(_absolute, self._given)):
            usual += self._usual(folder)
        below = [path for top in usual for path in self._folders_in(top)]
        called = [path for path in below if self._is_called_after(path)]
        found += [(_USUAL, path) for path in usual]
        found += [(_CALLED, path) for path in called]
        found += [(_BELOW, path) for path in below]
        if above != root:
            found += [(_AWAY, path) for path in self._usual(above)]
        found.append((_AWAY, _absolute(Path.cwd())))
        kinds: dict[str, int] = {}
        for kind, path in found:
            kinds.setdefault(path, kind)
        return [(kind, path) for path, kind in kinds.items() if os.path.isdir(path)]

    def _usual(self, folder: str) -> list[str]:
        """The folders in a folder in which people keep images, in whatever case."""
        order: list[str] = [name.lower() for name in IMAGE_FOLDERS]
        there = [name for name in self._names(folder) if name.lower() in order]
        there.sort(key=lambda name: (order.index(name.lower()), name))
        return [f"{folder}/{name}" for name in there]

    def _folders_in(self, folder: str) -> list[str]:
        try:
            with os.scandir(folder) as entries:
                names = sorted(
                    entry.name for entry in entries if not is_junk(entry.name) and entry.is_dir()
                )
        except OSError:
            return []
        return [f"{folder}/{name}" for name in names]

    def _is_called_after(self, folder: str) -> bool:
        """So `annotations/instances_val2017.json` finds its images in `val2017`."""
        name = re.escape(os.path.basename(folder))
        pattern = rf"(?<![a-z0-9]){name}(?![a-z])"
        return bool(self._stem) and re.search(pattern, self._stem, re.IGNORECASE) is not None

    # Names that lead nowhere -----------------------------------------------------------------

    def _lose(
        self, name: str, file: Path, place: str, several: str | tuple[str, ...] | None
    ) -> Path:
        """Remember a name that was not found; give it a path at which there is nothing."""
        text = (name if self._is_literal(name) else _meant(name)).replace("\\", "/")
        parts = tuple(part for part in posixpath.normpath(text).split("/") if part)
        outside = 1 if _DRIVE.match(text) else sum(part == ".." for part in parts)
        hits = several if isinstance(several, tuple) else ()
        plain = "/".join(part for part in parts if part not in ("..", ".")) or "_"
        plain = plain.replace("\0", "_")
        base = self._bases[0][1] if self._bases else _absolute(self.root)
        path = f"{base}/{plain}"
        while os.path.lexists(path):
            base = f"{base}/_"
            path = f"{base}/{plain}"
        self._lost.setdefault(
            Path(path), _Lost(name, parts, outside, _leads_out(text), file, place, hits)
        )
        return Path(path)

    def _is_literal(self, name: str) -> bool:
        """Whether a file is really called so, with what would else be a sign of an address."""
        last = name.replace("\\", "/").rpartition("/")[2]
        if "://" in name or not is_address(last):
            return False
        beside = any(last in self._names(path) for path in self._beside_of(""))
        return beside or last in self._others_of("")

    def _relocated(
        self, lost: list[_Lost], claimed: set[str], policy: IssuePolicy
    ) -> dict[str, str]:
        """Where the lost names' images are: all of them below one folder, or none.

        With an image folder that the caller named, each is looked for by itself.
        """
        if any(entry.several for entry in lost):
            return {}
        if self.images is None and any(map(self._is_there, lost)):
            return {}  # what is named is no other file of that name
        common = _common([entry.parts[:-1] for entry in lost])
        lowest = max(entry.outside for entry in lost)
        for dropped in range(lowest, common + 1):
            roots = [
                base
                for kind, base in self._bases
                if self._may_replace(lost[0].parts[:dropped], kind, base)
                and self._all_in(lost, base, dropped, kind, claimed)
            ]
            roots = _different(roots)
            if len(roots) > 1:
                return {}
            if roots:
                before = "/".join(lost[0].parts[:dropped])
                self._tell_relocated(lost, before, roots[0], len(lost), policy)
                return {e.name: f"{roots[0]}/{'/'.join(e.parts[dropped:])}" for e in lost}
        return {} if self.images is None else self._one_by_one(lost, claimed, policy)

    def _is_there(self, entry: _Lost) -> bool:
        """Whether a name leads to a file outside the data, which is not opened."""
        if not entry.leads_out:
            return False
        text = entry.name.replace("\\", "/")
        beside = [base for kind, base in self._bases if kind == _BESIDE]
        return "\0" not in text and any(
            os.path.isfile(os.path.normpath(os.path.join(base, text))) for base in beside
        )

    def _all_in(
        self, lost: list[_Lost], base: str, dropped: int, kind: int, claimed: set[str]
    ) -> bool:
        for entry in lost:
            tail = entry.parts[dropped:]
            if kind == _BELOW and dropped and len(tail) < 2:
                return False  # night/000.jpg is no reason to take day/000.jpg
            folder = "/".join((base, *tail[:-1]))
            if not self._holds(folder, tail[-1]) or f"{folder}/{tail[-1]}" in claimed:
                return False
        return True

    def _may_replace(self, dropped: tuple[str, ...], kind: int, base: str) -> bool:
        """Whether a folder may stand for what names begin with: nothing says it is another one."""
        if self.images is not None and kind == _BESIDE:
            return True
        words = re.findall(r"[a-z]+", self._stem.lower())
        meant = {_SPLITS[word] for word in words if word in _SPLITS}
        meant |= {split for part in dropped if (split := split_of(part))}
        other = split_of(os.path.basename(base))
        if meant and other and other not in meant:
            return False
        if not dropped or dropped[-1] in ("..", ".") or dropped[-1].endswith(":"):
            return True
        there = (os.path.join(os.path.dirname(base), dropped[-1]), os.path.join(base, dropped[-1]))
        return not any(path != base and os.path.isdir(path) for path in there)

    def _one_by_one(
        self, lost: list[_Lost], claimed: set[str], policy: IssuePolicy
    ) -> dict[str, str]:
        """In the image folder that the caller named: the file that most of a name leads to."""
        base = _absolute(self.images or self.root)
        taken: dict[str, str] = {}
        owners: dict[str, int] = {}
        for entry in lost:
            for dropped in range(entry.outside, len(entry.parts)):
                tail = entry.parts[dropped:]
                folder = "/".join((base, *tail[:-1]))
                if self._holds(folder, tail[-1]):
                    taken[entry.name] = f"{folder}/{tail[-1]}"
                    owners[taken[entry.name]] = owners.get(taken[entry.name], 0) + 1
                    break
        sure = {n: p for n, p in taken.items() if owners[p] == 1 and p not in claimed}
        if sure:
            first = next(entry for entry in lost if entry.name in sure)
            before = "/".join(first.parts[:-1])
            self._tell_relocated([first, *lost], before, base, len(sure), policy)
        return sure

    def _tell_relocated(
        self, lost: list[_Lost], before: str, root: str, found: int, policy: IssuePolicy
    ) -> None:
        entry = lost[0]
        total = len({each.name for each in lost})
        where = f"names images in {before}" if before else "names images without their folder"
        message = (
            f"it {where}, where they are not. They are taken from {root}: {found:,} of "
            f"{total:,} found there. First: {entry.name!r}."
        )
        if message in self._told:
            return
        self._told.add(message)
        if policy.problems is None:
            log.warning("%s: %s", self._file.name, message)
        else:
            issue = AnnotationIssue("images elsewhere", entry.file, entry.place, message)
            policy.report(issue)

    def _tell_renamed(self, policy: IssuePolicy) -> None:
        for file, place, name, own in self._renamed:
            message = f"it names {name!r}, and its own image is {own.name}, which is taken."
            policy.report(AnnotationIssue("image name disagrees", file, place, message, own))
        self._renamed.clear()
        if self._doubled:
            file, place, path, folders = self._doubled[0]
            count = len(self._doubled)
            message = (
                f"{counted(count, 'image')} {'is' if count == 1 else 'are'} in several folders: "
                f"{', '.join(dict.fromkeys(folders))}. Taken: {path}. If that is wrong, say which "
                "folder: --images FOLDER (in Python images=FOLDER)."
            )
            if policy.problems is None:
                log.warning("%s, %s: %s", file.name, place, message)
            else:
                policy.report(AnnotationIssue("images elsewhere", file, place, message))
            self._doubled.clear()

    def _report_lost(self, entry: _Lost, path: Path, policy: IssuePolicy, *, near: str) -> None:
        kind: Kind
        if entry.several:
            kind = "image in two folders"
            message = (
                f"image {entry.name!r} is in several folders: {', '.join(entry.several)}. "
                "Expected one. Say which folder: --images FOLDER (in Python images=FOLDER), or "
                "write the folder before the name."
            )
        elif entry.leads_out:
            kind = "image outside the data"
            inside = "there is no file of that name inside it"
            if near and self.images is None and self._is_there(entry):
                inside = "that file is there"
            elif near:
                inside = f"not all names are found in one folder inside it ({near})"
            message = (
                f"image {entry.name!r} lies outside the data folder {self.root}, and {inside}. "
                "Expected a path below it. Move the image, or name its folder: --images FOLDER "
                "(in Python images=FOLDER)."
            )
        else:
            return
        policy.report(AnnotationIssue(kind, entry.file, entry.place, message, path))


def did_you_mean(missing: Iterable[Path], root: Path) -> dict[Path, str]:
    """For missing images, files below a folder of the same name or with another ending.

    Capitals and small letters are the same here, and a file that was uploaded to Label Studio has
    the name that it had before.

    Args:
        missing: paths at which there is nothing.
        root: the data folder; it is walked through once, links to folders not followed.

    Returns:
        "did you mean day/000.jpg?" for each path for which there is such a file.
    """
    wanted = list(missing)
    if not wanted:
        return {}
    name_of = {path: uploaded_name(path.as_posix()) or path.name for path in wanted}
    names = set(name_of.values())
    stems = {_stem(name).casefold() for name in names}
    by_name: dict[str, list[str]] = {}
    by_stem: dict[str, list[str]] = {}
    for folder, name in _walk(root):
        if name in names:
            by_name.setdefault(name, []).append(f"{folder}/{name}")
        elif (stem := _stem(name).casefold()) in stems:
            by_stem.setdefault(stem, []).append(f"{folder}/{name}")
    found = {}
    for path in wanted:
        name = name_of[path]
        near = by_name.get(name) or by_stem.get(_stem(name).casefold()) or []
        if near:
            first = os.path.relpath(near[0], root)
            more = f", or {counted(len(near) - 1, 'other')}" if len(near) > 1 else ""
            found[path] = f"did you mean {first}{more}?"
    return found


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder and the folders below it, sorted; others are told in the log.

    Files of an ending that says nothing are images if their content is.
    """
    found = []
    others = []
    for file in files_below(folder):
        if is_image_file(str(file)):
            found.append(file)
        elif not lies_beside_images(file.name):
            others.append(file)
    if others:
        passed = counted(len(others), "file")
        log.warning("%s: %s passed over, no images: %s.", folder, passed, describe_endings(others))
    return found


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """The image files of a folder and the folders below it: where they are, and their names."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        for name in sorted(names):
            if has_image_ending(name) and not is_junk(name):
                yield parent, name


def _absolute(path: Path) -> str:
    """The absolute path with slashes on every system, so that names can be put together."""
    return os.path.abspath(path).replace(os.sep, "/")


def _checked(name: object, file: Path, place: str) -> str:
    """The name, if it may be one.

    Raises:
        DataError: it is not the name of a file.
    """
    if (
        not isinstance(name, str)
        or not name.strip("/\\. \t\r\n")
        or "\0" in name
        or len(name) > _LONGEST
    ):
        raise DataError(f"{file}, {place}: {str(name)[:60]!r} is not the name of an image file.")
    return name


def _meant(name: str) -> str:
    """The path that a name means: of an address the one in it, without percent signs."""
    names = names_in(name) if is_address(name) else [name]
    return unquote(names[1]) if len(names) > 1 else name


def _stem(name: str) -> str:
    """The name without an image's ending."""
    return os.path.splitext(name)[0] if has_image_ending(name) else name


def _leads_out(text: str) -> bool:
    """Whether a path with slashes is absolute, here or on Windows, or climbs."""
    return text.startswith("/") or bool(_DRIVE.match(text)) or ".." in text.split("/")


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/\\") + os.sep)


def _joined(base: str, folder: str) -> list[str]:
    """A folder in a base; where it begins with the base's own name, without repeating that too."""
    if not folder:
        return [base]
    parts = folder.split("/")
    repeated = [
        "/".join((base, *parts[count:]))
        for count in range(len(parts), 0, -1)
        if base.endswith("/" + "/".join(parts[:count]))
    ]
    return [f"{base}/{folder}", *repeated]


def _common(folders: Sequence[tuple[str, ...]]) -> int:
    """With how many of the same parts all begin."""
    first, last = min(folders), max(folders)
    pairs = list(zip(first, last, strict=False))
    return next((i for i, (one, other) in enumerate(pairs) if one != other), len(pairs))


def _different(paths: Sequence[str]) -> list[str]:
    """The paths without those that links make the same."""
    if len(paths) < 2:
        return list(paths)
    return list({os.path.realpath(path): path for path in reversed(paths)}.values())[::-1]


def split_of(folder: str) -> str:
    """The part of the data that a folder's name speaks of, as train2017 does; "" for others."""
    found = re.fullmatch(r"([a-z]+?)[\W_\d]*(?:images|imgs|img)?", folder.lower())
    return _SPLITS.get(found[1], "") if found else ""

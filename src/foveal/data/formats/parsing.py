"""Opening annotation files written by strangers: every way in which one can be broken is named."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from foveal.data.formats.encodings import legacy_encoding, marked_encoding
from foveal.data.formats.issues import AnnotationIssue
from foveal.errors import DataError
from foveal.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from xml.etree.ElementTree import Element

log = logging.getLogger(__name__)

LARGEST_JSON = 4 * 1024**3
LARGEST_TEXT = 1024**3
LARGEST_SMALL = 64 * 1024**2
LARGEST_YAML = 1024**2
_DEEPEST_YAML = 20
"""Bytes: more than any honest file of its kind holds, and less than fills the memory."""


def read_bytes(path: Path, largest: int) -> bytes:
    """The content of a file.

    Raises:
        DataError: it is missing, not a file, unreadable, empty or larger than `largest` bytes.
    """
    content = _content(path, largest)
    if not content.strip():
        raise DataError(f"{path} is empty. Expected annotations.")
    return content


def _content(path: Path, largest: int) -> bytes:
    """As `read_bytes`, but a file may be empty."""
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}.")
    try:
        size = path.stat().st_size
        if size > largest:
            raise DataError(
                f"{path} has {size:,} bytes. Expected at most {largest:,} in an annotation file."
            )
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """The text of a file: UTF-8, or UTF-16 or UTF-32 with or without a byte order mark.

    Text of before UTF-8 (GBK, Shift-JIS, Latin-1, ...) is read as what it looks like, and that is
    told; see `telling_encodings`.

    Raises:
        DataError: as `read_bytes`, or it is not text.
    """
    content = read_bytes(path, largest)
    return _decode(content, path)


def _decode(content: bytes, path: Path) -> str:
    encoding = marked_encoding(content) or "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        text = _decode_legacy(content, path, error)
    if "\0" in text:
        raise DataError(f"{path}, byte {text.index(chr(0))}: it is binary. Expected a text file.")
    return text


def _decode_legacy(content: bytes, path: Path, error: UnicodeDecodeError) -> str:
    legacy = legacy_encoding(content) if b"\0" not in content else None
    if legacy is None:
        raise DataError(
            f"{path}, byte {error.start}: it is not {error.encoding.upper()} text. Expected a text "
            "file; save it as UTF-8 if it is one."
        ) from error
    _note_guess(path, legacy)
    return content.decode(legacy, errors="replace")


_GUESSES: ContextVar[dict[Path, str] | None] = ContextVar("guesses", default=None)


def _note_guess(path: Path, encoding: str) -> None:
    guesses = _GUESSES.get()
    if guesses is None:
        log.warning("%s %s", path, _guessed("is", encoding))
    else:
        guesses[path] = encoding


def _guessed(verb: str, encoding: str) -> str:
    return f"{verb} not UTF-8 and read as {encoding}. Save as UTF-8 if names come out wrong."


@contextmanager
def telling_encodings(problems: list[AnnotationIssue] | None = None) -> Iterator[None]:
    """Tell of encodings that were guessed while the block ran: a line for each, not for each file.

    Args:
        problems: where given, they are collected there instead.
    """
    guesses: dict[Path, str] = {}
    token = _GUESSES.set(guesses)
    try:
        yield
    finally:
        _GUESSES.reset(token)
        for encoding in dict.fromkeys(guesses.values()):
            files = [path for path, other in guesses.items() if other == encoding]
            if problems is not None:
                message = _guessed("it is", encoding)
                problems += [AnnotationIssue("encoding guessed", f, "text", message) for f in files]
                continue
            what = f"{len(files)} files are" if len(files) > 1 else "A file is"
            log.warning("%s First: %s.", _guessed(what, encoding), files[0])


def head_text(path: Path, size: int = 65536) -> str:
    """The beginning of a file as text, whatever it is: signs that can't be read are replaced.

    Raises:
        DataError: the file can't be read.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(size)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error
    return content.decode(marked_encoding(content) or "utf-8", errors="replace").lstrip("\ufeff")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without blanks at their ends, none where it holds blanks alone.

    Raises:
        DataError: the file can't be read as text.
    """
    content = _content(path, LARGEST_SMALL)
    if not content.strip():
        return []
    return [line.strip() for line in _decode(content, path).split("\n")]


def read_json(path: Path, largest: int = LARGEST_JSON) -> Any:
    """The value of a JSON file.

    Raises:
        DataError: it can't be read, or it is not JSON; with line and column.
    """
    text = read_text(path, largest)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}, column {error.colno}: it is not JSON ({error.msg}). "
            "Is the file cut short?"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path}: its values are nested too deeply to be annotations.") from error
    except ValueError as error:
        raise DataError(f"{path}: it is not JSON ({error}).") from error


def read_xml(path: Path) -> Element:
    """The root element of an XML file; entities and outside references are refused.

    Raises:
        DataError: it can't be read, is not XML, or declares entities.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    content = read_bytes(path, LARGEST_TEXT)
    try:
        try:
            root: Element = fromstring(content)
        except (ParseError, ValueError, LookupError):
            # Expat knows neither GBK nor its like, and bytes may not be what they are said to be.
            text = _decode_xml(content, path)
            if text is None:
                raise
            root = fromstring(text)
    except ParseError as error:
        line, column = error.position
        raise DataError(
            f"{path}, line {line}, column {column + 1}: it is not XML ({error}). "
            "Is the file cut short?"
        ) from error
    except DefusedXmlException as error:
        raise DataError(
            f"{path}: it declares XML entities, which annotations don't need and which can read "
            "other files or fill the memory. Remove the <!DOCTYPE ...> part."
        ) from error
    except (ValueError, LookupError, RecursionError) as error:
        raise DataError(f"{path}: it is not XML ({error}).") from error
    return root


_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._:-]+)["']""")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "shift-jis": "cp932"}
"""What programs write that name the narrower encoding."""


def _decode_xml(content: bytes, path: Path) -> str | None:
    """The text of an XML file without its declaration; None where that would change nothing.

    It is in the encoding that its marks or its declaration say, unless its bytes say otherwise.
    """
    found = _DECLARED.match(content[:1024])
    declared = found.group(1).decode().lower() if found else "utf-8"
    names = [marked_encoding(content), _WIDER.get(declared, declared), "utf-8"]
    if names[0] is None and declared.startswith(("utf-16", "utf-32", "utf16", "utf32")):
        names[1] = None  # it has neither mark nor zeros: only the declaration came along
    for name in filter(None, names):
        try:
            text = content.decode(name)
        except (UnicodeError, LookupError):
            continue
        if name == declared == "utf-8":
            return None
        return _DECLARATION.sub("", text.lstrip("\ufeff"), count=1)
    legacy = legacy_encoding(content) if b"\0" not in content else None
    if legacy is None:
        return None
    _note_guess(path, legacy)
    return _DECLARATION.sub("", content.decode(legacy, errors="replace"), count=1)


def read_yaml(path: Path) -> Any:
    """The value of a YAML file, in which every scalar is text: "no" and "007" stay what they are.

    Aliases are refused, since a few lines of them fill the memory, and so are tags.

    Raises:
        DataError: it can't be read, is not plain YAML, or uses aliases.
    """
    import yaml

    text = read_text(path, LARGEST_YAML)
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    depth = 0
    try:
        for token in yaml.scan(text, Loader=loader):
            if isinstance(token, (yaml.AliasToken, yaml.TagToken)):
                line = token.start_mark.line + 1
                raise DataError(
                    f"{path}, line {line}: it uses YAML aliases (*name) or tags (!name). Write "
                    "plain values."
                )
            depth += isinstance(token, _opening(yaml)) - isinstance(token, _closing(yaml))
            if depth > _DEEPEST_YAML:
                raise DataError(f"{path}: its values are nested too deeply to name classes.")
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        why = getattr(error, "problem", None) or " ".join(str(error).split())
        raise DataError(f"{path}{where}: it is not plain YAML ({why}).") from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path}: it is not plain YAML ({error}).") from error


def read_table(path: Path, columns: int | None = None) -> list[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, each with the number of its line.

    Cells are separated by commas, tabs, semicolons or bars, whichever the file uses; Excel's first
    line `sep=;` says it.

    Args:
        path: the file.
        columns: how many there are, where that is known: where commas give as many, it is commas.

    Raises:
        DataError: it can't be read as CSV.
    """
    return table_rows(read_text(path), path, columns)


def table_rows(text: str, path: Path, columns: int | None = None) -> list[tuple[int, list[str]]]:
    """The rows of a table's text; see `read_table`.

    Raises:
        DataError: it can't be read as CSV.
    """
    said = _SEPARATOR.match(text)
    delimiter = said.group(1) if said else _delimiter(text, columns)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped) and not (said and reader.line_num == 1):
                rows.append((reader.line_num, stripped))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: it is not CSV ({error}).") from error
    return rows


_SEPARATOR = re.compile(r"sep=([,;\t|])\s*?(?:\r?\n|$)", re.IGNORECASE)
_TITLE = re.compile(r'"?[A-Za-z_]+"?$')
_DELIMITERS = ",\t;|"
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


def _delimiter(text: str, columns: int | None) -> str:
    """What separates the cells: the sign that gives most lines the same number of cells.

    Of several such signs it is the one between which no other stands in the first of the lines, but
    for commas in numbers. A first line of one word is the title of the only column.
    """
    lines = text[: 1 << 16].strip().splitlines()[:100]
    if lines and _TITLE.match(lines[0].strip()):
        return ","
    bare = [re.sub(r'"[^"]*"', '""', line.rstrip()) for line in lines]
    if columns and all(line.count(",") == columns - 1 for line in bare if line):
        return ","
    first = next((line for line in bare if any(sign in line for sign in _DELIMITERS)), "")

    def agreement(sign: str) -> tuple[int, int]:
        counts = [line.count(sign) for line in bare if sign in line]
        return max(map(counts.count, counts), default=0), _clean_cells(first, sign)

    return max((sign for sign in _DELIMITERS if sign in first), key=agreement, default=",")


def _clean_cells(line: str, delimiter: str) -> int:
    """How many cells hold no other delimiter."""
    others = _DELIMITERS.replace(delimiter, "")
    cells = (_DECIMAL_COMMA.sub("", cell) for cell in line.split(delimiter))
    return sum(not any(sign in cell for sign in others) for cell in cells)


def write_table(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file as `read_table` reads it."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def parse_number(text: str | None) -> float | None:
    """The number that a text writes, with a comma or a point for its decimals; None if none."""
    if text is None:
        return None
    if "," in text and "." not in text:
        text = text.replace(",", ".", 1)
    try:
        return float(text)
    except ValueError:
        return None


def complete(numbers: Iterable[float | None]) -> list[float] | None:
    """The numbers, or None where one is missing."""
    known = []
    for number in numbers:
        if number is None:
            return None
        known.append(number)
    return known


def as_number(value: object) -> float | None:
    """The number that a JSON value is, or writes as text; None if it is none, or too large."""
    if isinstance(value, str):
        return parse_number(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if isinstance(value, float) or abs(value) < 2**63 else None


def _opening(yaml: Any) -> tuple[type, ...]:
    return (
        yaml.FlowSequenceStartToken,
        yaml.FlowMappingStartToken,
        yaml.BlockSequenceStartToken,
        yaml.BlockMappingStartToken,
    )


def _closing(yaml: Any) -> tuple[type, ...]:
    return (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


def expect(value: Any, kind: type | tuple[type, ...], *, file: Path, place: str, what: str) -> Any:
    """The value itself if it is of the kind.

    Raises:
        DataError: it is of another kind; the message says which.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds):
        return value
    words = {
        dict: "an object",
        list: "a list",
        str: "text",
        int: "a whole number",
        float: "a number",
    }
    wanted = " or ".join(words.get(k, k.__name__) for k in kinds)
    shown = repr(value) if len(repr(value)) < 60 else repr(value)[:57] + "..."
    raise DataError(f"{file}, {place}: {what} is {shown}. Expected {wanted}.")

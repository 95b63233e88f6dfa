"""Values as the text of a file, in the spellings that tools and editors give them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from tests.data.formats.fuzzing.dice import Dice

_UNICODE = ("utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16")
_XML = (
    ("utf-8", "UTF-8"), ("utf-8", "utf-8"), ("utf-8", ""), ("utf-8-sig", "utf-8"),
    ("utf-16", "UTF-16"), ("latin-1", "ISO-8859-1"), ("cp1252", "windows-1252"), ("gbk", "GBK"),
    ("gb18030", "gb18030"), ("shift_jis", "Shift_JIS"), ("cp1251", "windows-1251"),
)  # fmt: skip


def number_text(dice: Dice, value: float, *, comma: bool = False) -> str:
    """A number as programs print it: 12, 12.0, 1.2e+01, and with a decimal comma where allowed."""
    plain = repr(float(value))
    if float(value).is_integer() and abs(value) < 1e15:
        plain = dice.pick((str(int(value)), str(int(value)), f"{value:.1f}", f"{value:.6f}"))
    elif dice.chance(6):
        plain = f"{value:.17e}"
    return plain.replace(".", ",") if comma else plain


def json_bytes(dice: Dice, value: Any) -> bytes:
    """A JSON file: minified or indented, escaped or not, with a byte order mark or without."""
    style: dict[str, Any] = dice.pick((
        {}, {"separators": (",", ":")}, {"indent": 1}, {"indent": 4}, {"indent": "\t"},
    ))  # fmt: skip
    text = json.dumps(value, ensure_ascii=dice.chance(2), **style) + dice.pick(("", "\n", "\r\n "))
    return (dice.pick(("", "", "", "\n ")) + text).encode(dice.pick(_UNICODE))


def shuffled_keys(dice: Dice, mapping: dict[str, Any]) -> dict[str, Any]:
    """The mapping with its keys in another order, now and then with a key that nobody knows."""
    items = [*mapping.items()]
    if dice.chance(6):
        items.append(("x_custom", dice.pick((None, 1, "a", [], {"b": [1, 2]}))))
    return dict(dice.shuffled(items))


def lines_bytes(
    dice: Dice,
    lines: Sequence[str],
    *,
    encodings: Sequence[str] = _UNICODE,
    tabs: bool = True,
) -> bytes:
    """A file of lines, with line ends of one system, blank lines and blanks at the ends."""
    end = dice.pick(("\n", "\n", "\r\n"))
    blanks = ("", " ", "\t") if tabs else ("", " ")
    spoiled = []
    for line in lines:
        spoiled += [dice.pick(blanks) for _ in range(dice.chance(16))]
        spoiled.append(line + (dice.pick(blanks) if dice.chance(4) else ""))
    text = end.join(spoiled) + dice.pick(("", end, end, end + end))
    return text.encode(dice.pick(encodings))


def table_bytes(
    dice: Dice, rows: Sequence[Sequence[str]], delimiter: str = ",", *, declared: bool = False
) -> bytes:
    """A CSV file in one of the dialects in use."""
    stream = io.StringIO(newline="")
    quoting = dice.pick((csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC))
    end = dice.pick(("\n", "\n", "\r\n"))
    writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=end)
    if declared:
        stream.write(f"sep={delimiter}{end}")
    for row in rows:
        writer.writerow(row)
        stream.write(end * dice.chance(20))
    return stream.getvalue().encode(dice.pick(_UNICODE))


def xml_bytes(dice: Dice, body: str) -> bytes:
    """An XML file of a root element's text, declared in one of the encodings that can hold it."""
    encoding, declared = dice.pick(_XML)
    try:
        body.encode(encoding)
    except UnicodeEncodeError:
        encoding, declared = "utf-8", "utf-8"
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    head = head.replace('"', "'") if dice.chance(6) else head
    gap = dice.pick(("", "\n", "\r\n", "\n<!-- made by a tool -->\n"))
    return (head + gap + body + dice.pick(("", "\n"))).encode(encoding)


def xml_text(dice: Dice, text: str, *, quotes: bool = False) -> str:
    """Text as it stands in XML: escaped, as numbers of characters, or in CDATA."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if quotes:
        return escaped.replace('"', "&quot;")
    if dice.chance(8) and "]]>" not in text:
        return f"<![CDATA[{text}]]>"
    if dice.chance(8):
        return "".join(f"&#{ord(c)};" if ord(c) > 127 else c for c in escaped)
    return escaped

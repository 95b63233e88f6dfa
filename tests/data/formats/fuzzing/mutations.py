"""Sound files broken: nodes, cells, lines and bytes dropped, doubled, swapped and retyped."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Written

VALUES: tuple[Any, ...] = (
    None, "", "x", "nan", "1", "-1", 0, 1, -1, 0.5, 1.5, 1e308, -1e-320, float("nan"), float("inf"),
    2**31, 2**63, 2**64, 10**400, True, False, [], {}, [[]], [1, 2], [1, 2, 3, 4], ["a"],
    [None] * 4, ["1", "2", "3", "4"], [1, 2, 3, 4, 5], {"a": 1}, "../../x.jpg", "/etc/passwd",
    "\0", "\ud800", "a\nb", "x" * 5000, "..", ".", "/", "~/x", "C:\\x", "http://x/y.jpg", "٣",
    "1_0", "0x10", "1e999", "infinity", "１２", " ", "\u202e", "%00", "null", "-0.0", "1,5",
)  # fmt: skip
PIECES = (
    b"", b"null", b"[]", b"{}", b"-1", b"1e999", b"NaN", b"../../../etc/passwd", b"\xff",
    b"\xfe\xff", b"\0", b"<a>", b"&x;", b"'", b'"', b",", b"\n", b"\r", b" ", b"\t", b"true",
    b"9" * 400, b"*a", b"&a ", b"!!python/name:os.system", b"[[[[", b"[" * 3000, b":",
    b"\xe2\x80\xa8", b"-0.5", b";", b"C:\\x", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"<![CDATA[",
    b"-->", b"\xef\xbb\xbf", b"\x1a", b'<?xml version="1.0" encoding="utf-7"?>', b"sep=;\n",
    b"\xff\xfe\0\0", b"\x85", b"\xe9",
)  # fmt: skip


def mutate(dice: Dice, written: Written) -> Written:
    """The data set with one to three changes in its files."""
    files = dict(written.files)
    for _ in range(dice.pick((1, 1, 2, 3))):
        name = dice.pick(sorted(files))
        files[name] = _changed(dice, name, files[name])
    if dice.chance(16):
        moved = files.pop(dice.pick(sorted(files)))
        files[dice.pick(("a.txt", "a.json", "a.xml", "labels.txt", "data.yaml", "x/a.csv"))] = moved
    return replace(written, files=files)


def _changed(dice: Dice, name: str, content: bytes) -> bytes:
    if dice.chance(3):
        return _changed_bytes(dice, content)
    ending = name.rpartition(".")[2].lower()
    try:
        if ending == "json":
            return _changed_json(dice, json.loads(content))
        if ending == "xml":
            return _changed_xml(dice, ElementTree.fromstring(content))
    except (ValueError, LookupError, ElementTree.ParseError, RecursionError):
        return _changed_bytes(dice, content)
    return _changed_lines(dice, content)


def _changed_bytes(dice: Dice, content: bytes) -> bytes:
    """Cut it short, or replace, repeat or insert a few of its bytes."""
    start = dice.below(len(content)) if content else 0
    end = min(len(content), start + dice.below(13))
    piece = dice.pick(PIECES) if not dice.chance(4) else content[start:end] * 3
    return content[:start] + piece + (b"" if dice.chance(6) else content[end:])


def _changed_json(dice: Dice, document: Any) -> bytes:
    """Change a node: the deeper the document, the deeper the node."""
    holder, key, node = [document], 0, document
    place: Any = holder
    while isinstance(node, (dict, list)) and node and not dice.chance(4):
        place = node
        key = dice.pick(sorted(node)) if isinstance(node, dict) else dice.below(len(node))
        node = node[key]
    kind = dice.below(6)
    if kind == 0:
        place[key] = dice.pick(VALUES)
    elif kind == 1:
        del place[key]
    elif kind == 2 and isinstance(place, list):
        place.append(copy.deepcopy(node))
    elif kind == 3:
        other = dice.pick(sorted(place)) if isinstance(place, dict) else dice.below(len(place))
        place[key], place[other] = place[other], place[key]
    elif kind == 4:
        place[key] = dice.pick(([node], {"a": node}, str(node), [node, node]))
    elif isinstance(place, dict):
        place[dice.pick(("a", "id", "bbox", "label", f"{key} "))] = place.pop(key)
    else:
        place[key] = dice.pick(VALUES)
    left = holder[0] if holder else None
    return json.dumps(left).encode("utf-8", "surrogatepass")


def _changed_xml(dice: Dice, tree: ElementTree.Element) -> bytes:
    pairs = [(parent, child) for parent in tree.iter() for child in parent]
    if not pairs:
        return b"<annotation/>"
    parent, node = dice.pick(pairs)
    text = str(dice.pick(VALUES)).replace("\0", "").replace("\ud800", "")
    kind = dice.below(7)
    if kind == 0:
        parent.remove(node)
    elif kind == 1:
        parent.append(copy.deepcopy(node))
    elif kind == 2:
        node.text = text
    elif kind == 3:
        node.tag = dice.pick(("a", "object", "name", "size", "image", "box", "bndbox"))
    elif kind == 4 and node.attrib:
        node.set(dice.pick(sorted(node.attrib)), text)
    elif kind == 5 and node.attrib:
        del node.attrib[dice.pick(sorted(node.attrib))]
    else:
        other = dice.pick(pairs)[1]
        node.append(copy.deepcopy(other))
    return ElementTree.tostring(tree, encoding="utf-8")


def _changed_lines(dice: Dice, content: bytes) -> bytes:
    """Change a line or one of its cells."""
    lines = content.split(b"\n")
    number = dice.below(len(lines))
    line = lines[number]
    kind = dice.below(6)
    if kind == 0:
        del lines[number]
    elif kind == 1:
        lines.insert(dice.below(len(lines)), line)
    elif kind == 2:
        lines = lines[number:] + lines[:number]
    else:
        gap = next((sign for sign in (b",", b";", b"\t", b":", b"=", b" ") if sign in line), b" ")
        cells = line.split(gap)
        cell = dice.below(len(cells))
        value = str(dice.pick(VALUES)).encode("utf-8", "surrogatepass")
        if kind == 3:
            cells[cell] = value
        elif kind == 4:
            del cells[cell]
        else:
            cells.insert(cell, value if dice.chance(2) else cells[cell])
        lines[number] = gap.join(cells)
    return b"\n".join(lines)

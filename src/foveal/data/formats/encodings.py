"""Which encoding a text is in: by its mark, by its zeros, as UTF-8, else by how it reads.

Texts of before UTF-8 don't say what they are in. Each encoding in use is tried, and the one is
taken in which most letters are common ones: everyday characters of GBK and Shift-JIS, Hangul,
Cyrillic words, Latin letters with accents among plain ones. Libraries that guess need longer texts
than a list of class names.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LOOKED_AT = 1 << 16
"""Bytes that are judged; an encoding shows in far fewer."""
_READABLE = 0.5
"""Score from which a text is taken to be in an encoding; below it is none."""
_KOREAN_FROM = 5
"""Different characters from which text that could be Hangul or Chinese is taken for Hangul.

Hangul fills a part of the Chinese rows: so many characters are rarely all in it by chance.
"""
_HIGH = re.compile(rb"[^\n]*[\x80-\xff][^\n]*\n?")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


def marked_encoding(content: bytes) -> str | None:
    """The encoding that a byte order mark, or the zeros of UTF-16 and UTF-32, give away."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            return name
    head = content[:_LOOKED_AT]
    if b"\0" not in head or len(head) < 4:
        return None
    zeros = [head[start::4].count(0) / len(head[start::4]) for start in range(4)]
    for name, pattern in (
        ("utf-32-be", (1, 1, 1, 0)),
        ("utf-32-le", (0, 1, 1, 1)),
        ("utf-16-be", (1, 0, 1, 0)),
        ("utf-16-le", (0, 1, 0, 1)),
    ):
        # Letters of other scripts have no zeros, so that not every place has one.
        if all((z > 0.5) if p else (z < 0.05) for z, p in zip(zeros, pattern, strict=True)):
            return name
    return None


def legacy_encoding(content: bytes) -> str | None:
    """The encoding of text that is not UTF-8 and has no mark; None where it reads as none."""
    lines = b"".join(match.group() for match in _HIGH.finditer(content[: 16 * _LOOKED_AT]))
    sample = lines[:_LOOKED_AT]
    if len(sample) < len(lines):
        sample = sample.rpartition(b"\n")[0] or sample
    scores: dict[str, float] = {}
    for name, judge in _JUDGES.items():
        try:
            text = sample.decode(name)
        except UnicodeDecodeError:
            continue
        if not _CONTROL.search(text):
            scores[name] = judge(text)
    best = max(scores, key=lambda name: scores[name], default=None)
    if best is None or scores[best] < _READABLE:
        return None
    return best


def _by_rows(encoding: str, everyday: range, rare: range) -> Callable[[str], float]:
    """The mean over letters: 1 for those in everyday rows of a table, a little for rare ones."""

    def judge(text: str) -> float:
        letters = [c for c in text if c > "\x7f"]
        total = 0.0
        for letter in letters:
            code = letter.encode(encoding)
            if len(code) == 2 and code[1] >= 0xA1:
                total += 1.0 if code[0] in everyday else 0.3 if code[0] in rare else 0.0
            elif "\u3000" <= letter <= "\u303f" or "\uff00" <= letter <= "\uffef":
                total += 0.5
        return total / max(len(letters), 1)

    return judge


def _korean(text: str) -> float:
    letters = [c for c in text if c > "\x7f"]
    total = 0.0
    for letter in letters:
        if "\uac00" <= letter <= "\ud7a3":
            lead, trail = letter.encode("cp949")
            total += 1.0 if 0xB0 <= lead <= 0xC8 and trail >= 0xA1 else 0.2
    return total / max(len(letters), 1) * (1.01 if len(set(letters)) >= _KOREAN_FROM else 0.9)


def _japanese(text: str) -> float:
    """Kana and everyday kanji; half-width kana are what other encodings look like."""
    letters = [c for c in text if c > "\x7f"]
    total = 0.0
    for letter in letters:
        if "\u3040" <= letter <= "\u30ff":
            total += 1.0
        elif "\u4e00" <= letter <= "\u9fff":
            total += 0.95 if 0x88 <= letter.encode("cp932")[0] <= 0x97 else 0.2
    return total / max(len(letters), 1)


def _traditional(text: str) -> float:
    letters = [c for c in text if c > "\x7f"]
    total = 0.0
    for letter in letters:
        total += 0.95 if 0xA4 <= letter.encode("big5")[0] <= 0xC6 else 0.2
    return total / max(len(letters), 1)


def _cyrillic(text: str) -> float:
    """Words of Cyrillic letters alone, in lower case but for their first or all in upper case."""
    good = every = 0
    for word in re.findall(r"[^\W\d_]*[^\x00-\x7f][^\W\d_]*", text):
        high = sum(c > "\x7f" for c in word)
        every += high
        proper = word[1:].islower() or word.isupper() or len(word) == 1
        if proper and len(word) > 1 and all("\u0400" <= c <= "\u04ff" for c in word):
            good += high
    return 0.97 * good / max(every, 1)


def _western(text: str) -> float:
    """Letters with accents beside plain ones, and the signs that people type."""
    total, count = 0.0, 0
    for match in re.finditer(r"[^\x00-\x7f]+", text):
        run, around = (
            match.group(),
            text[match.start() - 1 : match.start()] + text[match.end() :][:1],
        )
        count += len(run)
        if len(run) <= 2 and all(c.isalpha() for c in run) and any(c.isalpha() for c in around):
            total += len(run) * (0.96 if len(run) == 1 else 0.7)
        elif all(c in "°µ²³×·§±«»–—’“”€£ºª" for c in run):
            total += 0.7 * len(run)
    return total / max(count, 1)


_JUDGES: dict[str, Callable[[str], float]] = {
    "gbk": _by_rows("gbk", range(0xB0, 0xD8), range(0xD8, 0xF8)),
    "cp932": _japanese,
    "big5": _traditional,
    "cp949": _korean,
    "cp1251": _cyrillic,
    "cp1252": _western,
}

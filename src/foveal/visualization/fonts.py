"""The typefaces of pictures: DejaVu Sans; for letters that it lacks, what the machine has."""

from __future__ import annotations

import importlib.util
import logging
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

logger = logging.getLogger(__name__)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_LIKELY = ("notosanscjk", "notosans", "sourcehan", "wqy", "pingfang", "hiragino", "msyh", "malgun")
"""Parts of the names of fonts to look into first: those with the most letters."""
_ADVICE = (
    "Install a font that has them, such as Noto Sans CJK (on Debian or Ubuntu: fonts-noto-cjk)"
)


def font(size: int, text: str = "") -> Font:
    """A typeface in a height of so many pixels that has the text's letters, where there is any.

    DejaVu Sans comes with matplotlib. Where it lacks a letter, the machine's fonts are searched;
    that no font has it is logged once.
    """
    own = _own_file()
    if own is None:
        return ImageFont.load_default(size)
    if text.isascii():  # which it has; to look into the file takes a fifth of a second
        return _open(own, size)
    lacking = {letter for letter in text if letter.isprintable()} - _letters(own)
    other = _file_with("".join(sorted(lacking))) if lacking else None
    return _open(other or own, size)


@lru_cache(maxsize=64)
def _open(file: Path, size: int) -> Font:
    return ImageFont.truetype(str(file), size)


@lru_cache(maxsize=1)
def _own_file() -> Path | None:
    package = importlib.util.find_spec("matplotlib")
    if package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return file if file.is_file() else None


@lru_cache(maxsize=256)
def _file_with(letters: str) -> Path | None:
    """A file of the machine's that has these letters, and digits for the scores."""
    wanted = {*letters, *"0123456789. "}
    for file in _system_files():
        if wanted <= _letters(file):
            return file
    logger.warning(
        "No font on this machine has the letters %r: pictures show empty boxes in their place. %s.",
        letters,
        _ADVICE,
    )
    return None


@lru_cache(maxsize=1)
def _system_files() -> tuple[Path, ...]:
    """The machine's fonts, likely ones first, regular ones before bold ones."""
    from matplotlib.font_manager import findSystemFonts

    def unlikely(file: Path) -> tuple[int, bool, str]:
        name = file.name.lower().replace("-", "")
        rank = next((i for i, part in enumerate(_LIKELY) if part in name), len(_LIKELY))
        return rank, "regular" not in name, name

    return tuple(sorted(map(Path, findSystemFonts()), key=unlikely))


@lru_cache(maxsize=16)
def _letters(file: Path) -> frozenset[str]:
    """The letters that a font has; none where the file can't be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(str(file)).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()

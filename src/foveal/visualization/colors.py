"""The colors of everything that foveal draws.

The first eight colors are Okabe and Ito's, which people with any kind of color vision tell apart;
further ones walk round the hue circle by the golden angle.
"""

from __future__ import annotations

import colorsys

Color = tuple[int, int, int]

TRUE_POSITIVE: Color = (86, 180, 233)
FALSE_NEGATIVE: Color = (240, 228, 66)
FALSE_POSITIVE: Color = (230, 85, 0)
IGNORED: Color = (170, 170, 170)

_CLASSES: tuple[Color, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)
_GOLDEN_ANGLE = 0.381966


def class_color(label: int) -> Color:
    """The color of a class by its index, the same in pictures and curves."""
    if label < len(_CLASSES):
        return _CLASSES[label]
    turn = label - len(_CLASSES)
    lightness = (0.62, 0.42, 0.75)[turn % 3]
    channels = colorsys.hls_to_rgb((0.05 + turn * _GOLDEN_ANGLE) % 1.0, lightness, 0.75)
    red, green, blue = (round(255 * channel) for channel in channels)
    return red, green, blue


def to_hex(color: Color) -> str:
    """The color as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def ink_on(color: Color) -> Color:
    """Black or white, whichever reads better on the color."""
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else (255, 255, 255)

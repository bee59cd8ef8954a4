"""Colors of segments and clusters, which are the same in every picture."""

import colorsys

from protos.descriptions import ClassInfo

Color = tuple[int, int, int]
_GOLDEN = 0.618034
# Lightness in [0, 1] of the shades around a class color, and the limits that keep them distinct from black and white.
_SPREAD, _DARKEST, _LIGHTEST = 0.36, 0.18, 0.82


def segment_color(info: ClassInfo, instance: int) -> Color:
    """The class color; for a thing instance other than 0, a shade of it (instance_shade). RGB, 0..255."""
    return instance_shade(info.color, instance) if info.is_thing and instance else info.color


def instance_shade(color: Color, instance: int) -> Color:
    """A shade with the hue of `color` whose lightness follows from `instance`; those of successive instances are far apart."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in color))
    low = min(max(lightness - _SPREAD / 2, _DARKEST), _LIGHTEST - _SPREAD)
    return _rgb(colorsys.hls_to_rgb(hue, low + _SPREAD * (instance * _GOLDEN % 1), saturation))


def cluster_color(index: int) -> Color:
    """A color far from those of adjacent indices: hues at golden-ratio distances, with three saturations; RGB, 0..255."""
    saturation, value = ((0.75, 0.95), (0.5, 1.0), (0.9, 0.65))[index % 3]
    return _rgb(colorsys.hsv_to_rgb(index * _GOLDEN % 1, saturation, value))


def _rgb(fractions: tuple[float, float, float]) -> Color:
    red, green, blue = (round(255 * part) for part in fractions)
    return red, green, blue

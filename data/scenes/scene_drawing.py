"""Draws the scenes of the demo dataset: discs, boxes and triangles in front of sky, grass and water.

Like real objects, things differ in outline and usually also in color and pattern; stuff differs in texture (sky is smooth,
grass has vertical blades, water has horizontal ripples), while its colors overlap.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from protos.descriptions import DatasetInfo

# Incremented whenever the same seed gives different scenes.
VERSION = 2

_RADII = (13.0, 32.0)
_MOST_THINGS = 5
# Usual hue (in turns) and pattern of a shape; one in _UNUSUAL things has a random hue and pattern.
_LOOKS = {"disc": (0.0, "dots"), "box": (0.8, "stripes"), "triangle": (0.14, "plain")}
_HUE_SPREAD = 0.04
_UNUSUAL = 8
_LEAST_STUFF_AREA = 150
_CROWD_PROBABILITY = 0.2
_UNLABELED_PROBABILITY = 0.25


@dataclasses.dataclass(frozen=True)
class Segment:
    """One segment of a scene: `label` is its value in Scene.labels."""

    label: int
    class_name: str
    is_crowd: bool


@dataclasses.dataclass(frozen=True)
class Scene:
    """`image` uint8 [h, w, 3]; `labels` int32 [h, w] is the label of each pixel's segment, 0 for none."""

    image: np.ndarray
    labels: np.ndarray
    segments: tuple[Segment, ...]


def draw_scene(rng: np.random.Generator, info: DatasetInfo) -> Scene:
    """Draws a scene with sides of 112 to 192 pixels and the classes disc, box, triangle, sky, grass and water of `info`."""
    painter, things = Painter(rng), [c.name for c in info.classes if c.is_thing]
    painter.paint_background()
    if rng.random() < _UNLABELED_PROBABILITY:
        painter.paint_unlabeled()
    if rng.random() < _CROWD_PROBABILITY:
        painter.paint_crowd(things[rng.integers(len(things))])
    for _ in range(rng.integers(2, _MOST_THINGS + 1)):
        painter.paint_thing(things[rng.integers(len(things))])
    return painter.finish()


def signed_distance(shape: str, dy: np.ndarray, dx: np.ndarray, radius: float) -> np.ndarray:
    """Distance in pixels to the outline of a disc, box or triangle, negative inside, of points at (dy, dx) from its center."""
    if shape == "disc":
        return np.hypot(dy, dx) - radius
    if shape == "box":
        return np.maximum(np.abs(dy), np.abs(dx)) - 0.85 * radius
    angles = np.pi / 2 + np.arange(3) * 2 * np.pi / 3
    edges = [np.sin(a) * dy + np.cos(a) * dx for a in angles]
    return np.max(edges, axis=0) - 0.6 * radius


class Painter:
    """A canvas that is painted from back to front."""

    # Sides of the image in pixels: at least the first, less than the second.
    sides = (112, 193)
    # At least this share of every thing, and this many of its pixels, stay visible.
    least_visible, least_thing_area = 0.45, 90

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._height, self._width = (int(side) for side in rng.integers(*self.sides, size=2))
        self._image = np.zeros((self._height, self._width, 3))
        self._labels = np.zeros((self._height, self._width), np.int32)
        self._segments: list[Segment] = []
        self._full_area: dict[int, int] = {}
        self._y, self._x = np.mgrid[: self._height, : self._width].astype(np.float64)

    def paint_background(self) -> None:
        """Paints sky above a wavy horizon, and below it grass, water, or both with a shore between them."""
        rng = self._rng
        horizon = self._height * rng.uniform(0.25, 0.6) + self._wave(self._x, rng.uniform(2, 7), rng.uniform(60, 140))
        sky = self._y < horizon
        self._put(sky, self._sky_colors(), self._new("sky"))
        kind = rng.choice(["grass", "water", "shore"], p=[0.3, 0.2, 0.5])
        if kind != "shore":
            water = np.full(sky.shape, kind == "water")
        elif rng.random() < 0.5:
            line = horizon + (self._height - horizon) * rng.uniform(0.35, 0.65)
            water = self._y < line + self._wave(self._x, 5, 90)
        else:
            line = self._width * rng.uniform(0.3, 0.7) + (self._y - horizon) * rng.uniform(-0.8, 0.8)
            water = (self._x < line + self._wave(self._y, 5, 70)) ^ (rng.random() < 0.5)
        self._put_stuff("water", ~sky & water, self._water_colors)
        self._put_stuff("grass", ~sky & ~water, self._grass_colors)

    def paint_unlabeled(self) -> None:
        """Paints a patch of gray noise that belongs to no segment."""
        rng = self._rng
        height, width = rng.uniform(0.12, 0.3, size=2) * (self._height, self._width)
        top, left = rng.uniform(0, self._height - height), rng.uniform(0, self._width - width)
        inside = (self._y >= top) & (self._y < top + height) & (self._x >= left) & (self._x < left + width)
        self._put(inside, self._noise_colors(), 0)

    def paint_crowd(self, shape: str) -> None:
        """Paints many small things of one class that touch each other, as one crowd segment."""
        rng = self._rng
        radius = rng.uniform(4, 6)
        rows, columns = rng.integers(2, 5), rng.integers(3, 6)
        top, left = rng.uniform(0, self._height - rows * 2 * radius), rng.uniform(0, self._width - columns * 2 * radius)
        label = self._new(shape, is_crowd=True)
        hue, pattern = self._look(shape)
        for row in range(rows):
            for column in range(columns):
                center = (top + (2 * row + 1) * radius, left + (2 * column + 1) * radius) + rng.normal(0, 1, 2)
                varied = (hue + rng.normal(0, 0.03)) % 1
                self._shape(shape, center, radius * rng.uniform(0.9, 1.2), varied, pattern, label)

    def paint_thing(self, shape: str) -> None:
        """Paints a thing where all things stay visible; nothing if no such position is found."""
        rng = self._rng
        before = (self._image.copy(), self._labels.copy())
        label = self._new(shape)
        for _ in range(10):
            radius = np.exp(rng.uniform(*np.log(_RADII)))
            center = rng.uniform(0.07, 0.93, size=2) * (self._height, self._width)
            self._shape(shape, center, radius, *self._look(shape), label)
            self._full_area[label] = int((self._labels == label).sum())
            if self._all_visible(self._labels):
                return
            self._image[:], self._labels[:] = before
        self._segments.pop()
        del self._full_area[label]

    def finish(self) -> Scene:
        """Returns the scene, slightly blurred and with sensor noise; stuff that is mostly covered loses its label."""
        for segment in self._segments:
            if segment.label not in self._full_area and (self._labels == segment.label).sum() < _LEAST_STUFF_AREA:
                self._labels[self._labels == segment.label] = 0
        present = set(np.unique(self._labels).tolist())
        image = ndimage.gaussian_filter(self._image, (0.45, 0.45, 0))
        image = image * self._rng.uniform(0.8, 1.15) + self._rng.uniform(-0.05, 0.05, 3)
        image += self._rng.normal(0, 0.02, image.shape)
        pixels = np.clip(np.round(255 * image), 0, 255).astype(np.uint8)
        return Scene(pixels, self._labels, tuple(s for s in self._segments if s.label in present))

    def _look(self, shape: str) -> tuple[float, str]:
        """Hue (in turns) and pattern of a thing."""
        rng = self._rng
        if rng.integers(_UNUSUAL) == 0:
            return rng.random(), str(rng.choice([pattern for _, pattern in _LOOKS.values()]))
        hue, pattern = _LOOKS[shape]
        return (hue + rng.normal(0, _HUE_SPREAD)) % 1, pattern

    def _new(self, class_name: str, is_crowd: bool = False) -> int:
        self._segments.append(Segment(len(self._segments) + 1, class_name, is_crowd))
        return len(self._segments)

    def _put(self, where: np.ndarray, colors: np.ndarray, label: int) -> None:
        self._image[where] = colors[where]
        self._labels[where] = label

    def _put_stuff(self, name: str, where: np.ndarray, colors: Callable[[], np.ndarray]) -> None:
        """Paints stuff, or unlabeled noise if its region is small."""
        if where.sum() >= _LEAST_STUFF_AREA:
            self._put(where, colors(), self._new(name))
        elif where.any():
            self._put(where, self._noise_colors(), 0)

    def _all_visible(self, labels: np.ndarray) -> bool:
        """Whether these labels show enough of all things."""
        areas = np.bincount(labels.ravel(), minlength=len(self._segments) + 1)
        least, share = self.least_thing_area, self.least_visible
        return all(areas[label] >= max(least, share * full) for label, full in self._full_area.items())

    def _around(self, center: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of the pixels, y and x, relative to a center and rotated."""
        dy, dx = self._y - center[0], self._x - center[1]
        return np.cos(angle) * dy - np.sin(angle) * dx, np.sin(angle) * dy + np.cos(angle) * dx

    def _shape(self, shape: str, center: np.ndarray, radius: float, hue: float, pattern: str, label: int) -> None:
        """Paints a shape with shading, a pattern (plain, stripes or dots) and a dark outline."""
        rng = self._rng
        # Triangles and boxes are slightly rotated; a disc looks the same at any angle.
        dy, dx = self._around(center, rng.uniform(-0.4, 0.4))
        distance = signed_distance(shape, dy, dx, radius)
        first, second = color_of(hue, 0.75, rng.uniform(0.6, 0.95)), color_of(hue + 0.08, 0.6, rng.uniform(0.35, 0.8))
        is_second = in_pattern(pattern, dy, dx, max(5.0, radius / 2))
        colors = np.where(is_second[..., None], second, first) * (1 - 0.25 * (dy + dx) / (2 * radius))[..., None]
        rim = np.clip(distance + 2.2, 0, 1)[..., None]
        self._put(distance <= 0, colors * (1 - 0.85 * rim), label)

    def _wave(self, along: np.ndarray, amplitude: float, period: float) -> np.ndarray:
        return amplitude * np.sin(2 * np.pi * along / period + self._rng.uniform(0, 2 * np.pi))

    def _smooth_noise(self, sigma: tuple[float, float]) -> np.ndarray:
        noise = ndimage.gaussian_filter(self._rng.normal(size=self._labels.shape), sigma)
        return noise / (noise.std() + 1e-9)

    def _sky_colors(self) -> np.ndarray:
        rng = self._rng
        top = color_of(rng.uniform(0.5, 0.68) if rng.random() < 0.7 else rng.uniform(0.9, 1.12), rng.uniform(0.1, 0.6), 0.8)
        bottom = 0.5 * top + 0.5 * rng.uniform(0.75, 1.0)
        fraction = (self._y / self._height)[..., None]
        clouds = np.clip(self._smooth_noise((7, 14)), 0, 2)[..., None] * rng.uniform(0, 0.12)
        return top * (1 - fraction) + bottom * fraction + clouds

    def _grass_colors(self) -> np.ndarray:
        rng = self._rng
        base = color_of(rng.uniform(0.1, 0.42), rng.uniform(0.4, 0.8), rng.uniform(0.4, 0.75))
        return base * (1 + rng.uniform(0.2, 0.32) * self._smooth_noise((2.5, 0.5)))[..., None]

    def _water_colors(self) -> np.ndarray:
        rng = self._rng
        base = color_of(rng.uniform(0.4, 0.7), rng.uniform(0.25, 0.75), rng.uniform(0.45, 0.85))
        depth = self._y + 2 * self._smooth_noise((6, 12))
        ripples = np.sin(2 * np.pi * depth / rng.uniform(6, 9)) + 0.6 * self._smooth_noise((0.7, 4))
        return base * (1 + rng.uniform(0.12, 0.2) * ripples)[..., None]

    def _noise_colors(self) -> np.ndarray:
        gray = 0.5 + 0.25 * self._rng.normal(size=self._labels.shape)
        return np.repeat(gray[..., None], 3, axis=2)


def in_pattern(pattern: str, dy: np.ndarray, dx: np.ndarray, period: float) -> np.ndarray:
    """Where the second color of a pattern is (plain, stripes, dots or checks), bool; all lengths in pixels."""
    waves = [np.sin(2 * np.pi * along / period) for along in (dx, dy, dx + dy)]
    match pattern:
        case "plain":
            return np.zeros(dy.shape, bool)
        case "stripes":
            return waves[2] > 0.2
        case _:
            return waves[0] * waves[1] > (0.35 if pattern == "dots" else 0)


def color_of(hue: float, saturation: float, value: float) -> np.ndarray:
    """Color as RGB, 0..1; `hue` in turns."""
    offsets = np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return value * (1 - saturation * (1 - np.clip(offsets, 0, 1)))

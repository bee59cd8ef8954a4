"""Draws scenes that are hard to segment: 10 to 20 small things of eight classes that cover each other in front of six textures.

Only the outline tells the class of a thing: its color, pattern, size and rotation are random, as are the colors of stuff.
"""

import functools

import numpy as np

from data.scenes.scene_drawing import Painter, Scene, color_of, in_pattern, signed_distance
from protos.descriptions import DatasetInfo

# Incremented whenever the same seed gives different scenes.
VERSION = 1

_THINGS = (10, 20)
_RADII = (8.0, 22.0)
_MOST_TRIES = 60
_UNLABELED_PROBABILITY = 0.25
_PATTERNS = ("plain", "stripes", "dots", "checks", "speckles")


def draw_scene(rng: np.random.Generator, info: DatasetInfo) -> Scene:
    """Draws a scene with sides of 144 to 192 pixels and the classes of data/descriptions/scenes_hard_panoptic.textproto."""
    painter, things = _HardPainter(rng), [c.name for c in info.classes if c.is_thing]
    painter.paint_background()
    if rng.random() < _UNLABELED_PROBABILITY:
        painter.paint_unlabeled()
    for _ in range(rng.integers(_THINGS[0], _THINGS[1] + 1)):
        painter.paint_thing(things[rng.integers(len(things))])
    return painter.finish()


def outline(shape: str, dy: np.ndarray, dx: np.ndarray, radius: float) -> np.ndarray:
    """Negative inside of a shape of this radius, positive outside, about in pixels, at (dy, dx) from its center."""
    distance = np.hypot(dy, dx)
    match shape:
        case "ring":
            return np.abs(distance - 0.72 * radius) - 0.28 * radius
        case "star":
            return distance - radius * (0.7 + 0.3 * np.cos(5 * np.arctan2(dy, dx)))
        case "cross":
            arms = (np.maximum(np.abs(a) - radius, np.abs(b) - 0.33 * radius) for a, b in ((dy, dx), (dx, dy)))
            return np.minimum(*arms)
        case "bar":
            return np.maximum(np.abs(dy) - 0.35 * radius, np.abs(dx) - radius)
        case "crescent":
            return np.maximum(distance - radius, 0.75 * radius - np.hypot(dy, dx - 0.5 * radius))
        case _:
            return signed_distance(shape, dy, dx, radius)


class _HardPainter(Painter):
    sides = (144, 193)
    least_visible, least_thing_area = 0.3, 50

    def paint_background(self) -> None:
        """Paints three to five areas with a texture each: one above a horizon, the others between lines below it."""
        rng = self._rng
        names = list(rng.permutation(["sky", "grass", "water", "sand", "bricks", "leaves"])[: rng.integers(3, 6)])
        horizon = self._height * rng.uniform(0.15, 0.45) + self._wave(self._x, rng.uniform(2, 8), rng.uniform(40, 140))
        # The lower areas are sectors around a point, with wavy borders.
        top, left = self._height * rng.uniform(0.5, 0.9), self._width * rng.uniform(0.25, 0.75)
        angle = np.arctan2(self._y - top, self._x - left) + self._wave(np.hypot(self._y - top, self._x - left), 0.15, 50)
        count = len(names) - 1
        sector = np.floor(((angle + rng.uniform(0, 2 * np.pi)) % (2 * np.pi)) / (2 * np.pi) * count).astype(int) % count
        area = np.where(self._y < horizon, count, sector)
        for number, name in enumerate(names):
            self._put_stuff(name, area == number, functools.partial(self._texture, name))

    def paint_thing(self, shape: str) -> None:
        """Paints a thing where all things stay visible; nothing if no such position is found."""
        rng = self._rng
        for _ in range(_MOST_TRIES):
            radius = np.exp(rng.uniform(*np.log(_RADII)))
            center = rng.uniform(0.04, 0.96, size=2) * (self._height, self._width)
            dy, dx = self._around(center, rng.uniform(0, 2 * np.pi))
            distance = outline(shape, dy, dx, radius)
            inside = distance <= 0
            if inside.sum() >= self.least_thing_area and self._all_visible(self._labels[~inside]):
                label = self._new(shape)
                self._full_area[label] = int(inside.sum())
                rim = np.clip(distance + 1.6, 0, 1)[..., None]
                self._put(inside, self._pattern(dy, dx, radius) * (1 - 0.6 * rim), label)
                return

    def _pattern(self, dy: np.ndarray, dx: np.ndarray, radius: float) -> np.ndarray:
        """Two random colors in a random pattern, [h, w, 3]."""
        rng = self._rng
        first, second = (color_of(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.35, 0.95)) for _ in range(2))
        pattern = _PATTERNS[rng.integers(len(_PATTERNS))]
        if pattern == "speckles":
            is_second = self._smooth_noise((1.0, 1.0)) > 0.5
        else:
            is_second = in_pattern(pattern, dy, dx, max(4.0, radius / 2))
        shading = 1 - 0.25 * (dy + dx) / (2 * radius)
        return np.where(is_second[..., None], second, first) * shading[..., None]

    def _texture(self, name: str) -> np.ndarray:
        """Colors of stuff, [h, w, 3]: a texture of its class in a random color."""
        rng = self._rng
        base = color_of(rng.random(), rng.uniform(0.15, 0.7), rng.uniform(0.45, 0.85))
        match name:
            case "sky":
                light = 0.15 * np.clip(self._smooth_noise((8, 16)), -1, 2) + 0.3 * (0.5 - self._y / self._height)
            case "grass":
                light = rng.uniform(0.2, 0.32) * self._smooth_noise((2.5, 0.5))
            case "water":
                depth = self._y + 2 * self._smooth_noise((6, 12))
                light = 0.17 * (np.sin(2 * np.pi * depth / rng.uniform(6, 9)) + 0.6 * self._smooth_noise((0.7, 4)))
            case "sand":
                light = rng.uniform(0.1, 0.18) * self._smooth_noise((0.6, 0.6))
            case "bricks":
                light = self._brick_joints()
            case _:
                light = 0.35 * np.tanh(2 * self._smooth_noise((2.2, 2.2)))
        return base * (1 + light)[..., None]

    def _brick_joints(self) -> np.ndarray:
        """Change of lightness: darker in the joints of a wall, and a little different for each brick."""
        rng = self._rng
        height, width = rng.uniform(7, 10), rng.uniform(14, 22)
        row = np.floor(self._y / height).astype(int)
        along = self._x / width + 0.5 * (row % 2)
        tones = rng.normal(0, 0.08, (row.max() + 1, int(along.max()) + 1))
        joint = (self._y % height < 1.5) | (along % 1 * width < 1.5)
        return np.where(joint, -0.4, tones[row, along.astype(int)])

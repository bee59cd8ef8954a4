"""Random panoptic maps for the tests of the metrics."""

import numpy as np

from protos import descriptions

INFO = descriptions.load("scenes_panoptic")  # things 1, 2, 3; stuff 4, 5, 6; divisor 256; void 0


def random_scene(rng: np.random.Generator, height: int = 40, width: int = 56, segments: int = 9) -> np.ndarray:
    """A map of overlapping rectangles: stuff, things, crowd regions (thing class, instance 0) and void."""
    labels = np.zeros([height, width], np.int32)
    for instance in range(1, segments + 1):
        class_id = int(rng.integers(0, 7))
        y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
        h, w = rng.integers(6, height // 2), rng.integers(6, width // 2)
        crowd = rng.random() < 0.2
        labels[y : y + h, x : x + w] = class_id * 256 + (instance if 1 <= class_id <= 3 and not crowd else 0)
    return labels


def disturb(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """A prediction for a scene: shifted, and with some segments of another class or void."""
    shifted = np.roll(labels, rng.integers(-2, 3, 2), axis=(0, 1))
    for label in np.unique(shifted):
        if rng.random() < 0.2:
            new_class = int(rng.integers(0, 7))
            shifted[shifted == label] = new_class * 256 + (200 + int(rng.integers(50)) if 1 <= new_class <= 3 else 0)
    return shifted.astype(np.int32)

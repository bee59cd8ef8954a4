"""Boundary IoU (Cheng et al., arXiv 2103.16562): IoU of the pixels near the boundaries of two segments."""

import math
from collections.abc import Container

import numpy as np

from kmax_tf.evaluation.segments import count_labels, count_pairs

# Width of a boundary in image diagonals, as in the paper and its official code.
_WIDTH = 0.02


def boundary_width(height: int, width: int) -> int:
    """Width of boundaries in pixels, at least 1, for images of this size."""
    return max(1, round(_WIDTH * math.hypot(height, width)))


def boundary_pixels(labels: np.ndarray, width: int) -> np.ndarray:
    """Pixels of a label map [H, W] at most `width` rows and columns from another label or the edge of the map, bool [H, W]."""
    inner = np.zeros(labels.shape, bool)
    height, breadth = labels.shape
    size = 2 * width
    if height > size and breadth > size:
        # Squares of 2 x 2 pixels with more than one label, and their number in each square of 2 * width + 1 pixels.
        mixed = (labels[1:, 1:] != labels[:-1, :-1]) | (labels[1:, :-1] != labels[:-1, 1:])
        mixed |= labels[1:, 1:] != labels[1:, :-1]
        sums = np.zeros(labels.shape, np.int32)
        np.cumsum(mixed, 0, np.int32, sums[1:, 1:])
        np.cumsum(sums[1:, 1:], 1, np.int32, sums[1:, 1:])
        inside = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
        inner[width : height - width, width : breadth - width] = inside == 0
    return ~inner


class BoundaryOverlap:
    """Overlaps of the boundaries of the segments of two label maps [H, W]; labels as in segment_matching.LabelPairs."""

    def __init__(self, ground_truth: np.ndarray, prediction: np.ndarray, true_segments: Container[int]):
        """Labels of the ground truth that are not in `true_segments` are void."""
        width = boundary_width(*ground_truth.shape)
        near_true, near_predicted = boundary_pixels(ground_truth, width), boundary_pixels(prediction, width)
        self._true, self._predicted = count_labels(ground_truth[near_true]), count_labels(prediction[near_predicted])
        both = near_true & near_predicted
        self._overlaps = count_pairs(ground_truth[both], prediction[both])
        # Void is excluded as a whole, not only its boundary.
        void = np.isin(ground_truth, [label for label in count_labels(ground_truth) if label not in true_segments])
        self._over_void = count_labels(prediction[void & near_predicted])

    def iou(self, true: int, predicted: int) -> float:
        """Boundary IoU of two segments, where the union excludes void of the ground truth."""
        overlap = self._overlaps.get((true, predicted), 0)
        return overlap / (self._true[true] + self._predicted[predicted] - overlap - self._over_void.get(predicted, 0))

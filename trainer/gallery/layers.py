"""Transparent pictures that the gallery lays over an image: segments and errors, as PNGs with a palette."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from PIL import Image

from kmax_tf.coco_panoptic import pngs
from kmax_tf.drawing.colors import Color, segment_color
from kmax_tf.drawing.pictures import segment_edges
from kmax_tf.evaluation.segments import Segment
from protos.descriptions import ClassInfo

_FILL, _OPAQUE = 165, 255
_CLEAR, _EDGE, _FIRST = 0, 1, 2
_WHITE = (255, 255, 255)
_MOST_COLORS = 256 - _FIRST
_STRIPE = 4  # pixels; half of the period of the stripes of false positives

# Indices and colors of the errors; blue and orange are safe for color-blind readers.
MISSED, WRONG, CONFUSED, INACCURATE = range(_FIRST, _FIRST + 4)
ERROR_COLORS: dict[int, Color] = {
    MISSED: (40, 120, 255),
    WRONG: (255, 120, 20),
    CONFUSED: (225, 30, 190),
    INACCURATE: (255, 232, 90),
}


@dataclasses.dataclass(frozen=True)
class ErrorLabels:
    """Labels of segments by kind of error: `missed` and `confused_true` in the ground truth, the others in the prediction.

    `matched` are pairs of a true and a predicted label.
    """

    missed: frozenset[int]
    wrong: frozenset[int]
    confused_true: frozenset[int]
    confused_predicted: frozenset[int]
    matched: tuple[tuple[int, int], ...]


def draw_segments(labels: np.ndarray, segments: Mapping[int, Segment], classes: Mapping[int, ClassInfo]) -> bytes:
    """A PNG of the segments of a label map [h, w] in the colors of their classes, with white edges; void is transparent."""
    indices = np.full(labels.shape, _CLEAR, np.uint8)
    colors: dict[int, Color] = {}
    instances: dict[int, int] = {}
    for position, (label, segment) in enumerate(segments.items()):
        instances[segment.class_id] = number = instances.get(segment.class_id, 0) + 1
        index = _FIRST + position % _MOST_COLORS
        colors.setdefault(index, segment_color(classes[segment.class_id], 0 if segment.is_crowd else number))
        indices[labels == label] = index
    indices[segment_edges(labels) & (indices != _CLEAR)] = _EDGE
    return _png(indices, colors)


def draw_errors(truth: np.ndarray, prediction: np.ndarray, errors: ErrorLabels) -> bytes:
    """A PNG of the errors of two label maps [h, w]; correct pixels are transparent.

    Missed segments are filled and wrong ones striped, so that both are visible where they overlap. Pixels that only one
    segment of a matched pair contains are inaccurate.
    """
    indices = np.full(truth.shape, _CLEAR, np.uint8)
    for true, predicted in errors.matched:
        indices[(truth == true) != (prediction == predicted)] = INACCURATE
    indices[_any_of(truth, errors.missed)] = MISSED
    rows, columns = np.indices(truth.shape)
    stripes = (rows + columns) // _STRIPE % 2 == 0
    indices[_any_of(prediction, errors.wrong) & (stripes | (indices != MISSED))] = WRONG
    indices[_any_of(truth, errors.confused_true) | _any_of(prediction, errors.confused_predicted)] = CONFUSED
    edges = (segment_edges(truth) & _any_of(truth, errors.missed | errors.confused_true)) | (
        segment_edges(prediction) & _any_of(prediction, errors.wrong | errors.confused_predicted)
    )
    indices[edges] = _EDGE
    return _png(indices, ERROR_COLORS)


def _any_of(labels: np.ndarray, wanted: frozenset[int]) -> np.ndarray:
    return np.isin(labels, list(wanted)) if wanted else np.zeros(labels.shape, bool)


def _png(indices: np.ndarray, colors: Mapping[int, Color]) -> bytes:
    image = Image.fromarray(indices)
    palette = {_CLEAR: (0, 0, 0), _EDGE: _WHITE, **colors}
    image.putpalette([channel for i in range(max(palette) + 1) for channel in palette.get(i, (0, 0, 0))])
    alphas = bytes({_CLEAR: 0, _EDGE: _OPAQUE}.get(i, _FILL) for i in range(max(palette) + 1))
    return pngs.encoded(image, transparency=alphas, optimize=False)

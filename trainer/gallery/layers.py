"""Transparent pictures that the gallery lays over an image: segments and errors, as PNGs with a palette."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from kmax_tf.coco_panoptic import pngs
from kmax_tf.drawing.colors import Color, segment_color
from kmax_tf.drawing.pictures import segment_edges
from kmax_tf.evaluation.segment_matching import SegmentMatches
from kmax_tf.evaluation.segments import Segment
from protos.descriptions import ClassInfo

_FILL, _OPAQUE = 165, 255
_CLEAR, _EDGE, _FIRST = 0, 1, 2
_WHITE = (255, 255, 255)
_MOST_COLORS = 256 - _FIRST
_STRIPE = 4  # pixels; half of the period of the stripes of false positives

# Blue and orange are safe for color-blind readers.
ERROR_COLORS: dict[str, Color] = {
    "missed": (40, 120, 255),
    "wrong": (255, 120, 20),
    "confused": (225, 30, 190),
    "inaccurate": (255, 232, 90),
}


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


def draw_errors(
    truth: np.ndarray, prediction: np.ndarray, matches: SegmentMatches, confused: Sequence[tuple[int, int, float]]
) -> bytes:
    """A PNG of the errors of two label maps [h, w]; correct pixels are transparent.

    Missed segments are filled and wrong ones striped, so that both are visible where they overlap. Pixels that only one
    segment of a matched pair contains are inaccurate. `confused` are those of trainer.gallery.rows.confusions.
    """
    indices = np.full(truth.shape, _CLEAR, np.uint8)
    index = {kind: _FIRST + position for position, kind in enumerate(ERROR_COLORS)}
    for true, predicted, _ in matches.matched:
        indices[(truth == true) != (prediction == predicted)] = index["inaccurate"]
    missed, wrong = np.isin(truth, matches.missed), np.isin(prediction, matches.wrong)
    indices[missed] = index["missed"]
    rows, columns = np.indices(truth.shape)
    stripes = (rows + columns) // _STRIPE % 2 == 0
    indices[wrong & (stripes | ~missed)] = index["wrong"]
    # Confused segments are missed and wrong ones, too.
    indices[np.isin(truth, [true for true, _, _ in confused])] = index["confused"]
    indices[np.isin(prediction, [predicted for _, predicted, _ in confused])] = index["confused"]
    indices[(segment_edges(truth) & missed) | (segment_edges(prediction) & wrong)] = _EDGE
    return _png(indices, {index[kind]: color for kind, color in ERROR_COLORS.items()})


def _png(indices: np.ndarray, colors: Mapping[int, Color]) -> bytes:
    image = Image.fromarray(indices)
    palette = {_CLEAR: (0, 0, 0), _EDGE: _WHITE, **colors}
    image.putpalette([channel for i in range(max(palette) + 1) for channel in palette.get(i, (0, 0, 0))])
    alphas = bytes({_CLEAR: 0, _EDGE: _OPAQUE}.get(i, _FILL) for i in range(max(palette) + 1))
    return pngs.encoded(image, transparency=alphas, optimize=False)

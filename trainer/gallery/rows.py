"""What the gallery's page knows of an image: its segments with what became of them, and the confused pixels."""

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from kmax_tf.coco_panoptic.panoptic_files import SegmentRecord
from trainer.evaluation.scoring import ScoredImage

# Kinds of segments, as in page/gallery.js.
MATCHED, MISSED, WRONG, CONFUSED, IGNORED = range(5)
_DIGITS = 4
_ANCHOR_STEP = 4


def confusions(image: ScoredImage) -> list[tuple[int, int, float]]:
    """Missed true segments that a wrong segment of another class covers: (true, predicted, IoU above one half)."""
    missed, wrong = set(image.matches.missed), set(image.matches.wrong)
    pairs = [pair for pair in image.pairs.candidates(same_class=False) if pair[0] in missed and pair[1] in wrong]
    found = ((true, predicted, image.pairs.iou(true, predicted)) for true, predicted in pairs)
    return [(true, predicted, iou) for true, predicted, iou in found if iou > 0.5]


def segment_rows(
    image: ScoredImage,
    confused: Sequence[tuple[int, int, float]],
    classes: Mapping[int, int],
    records: Mapping[int, SegmentRecord],
) -> list[list[int | float | None]]:
    """One row for each segment, or for each pair: kind, true class, predicted class, IoU, area, x, y, score.

    Args:
      image: the image.
      confused: those of `confusions`.
      classes: position of each category id in the list of classes; -1 stands for no segment.
      records: the predicted segments, with their scores in [0, 1], None if they have none.

    Returns:
      The area in pixels is that of the true segment, if there is one; x and y in [0, 1] are a point inside the segment.
    """
    true, predicted = image.pairs.true, image.pairs.predicted
    rows = [(MATCHED, t, p, iou) for t, p, iou in image.matches.matched] + [(CONFUSED, t, p, iou) for t, p, iou in confused]
    done = {t for _, t, _, _ in rows}, {p for _, _, p, _ in rows}
    rows += [(MISSED, t, None, None) for t in image.matches.missed if t not in done[0]]
    rows += [(WRONG, None, p, None) for p in image.matches.wrong if p not in done[1]]
    rows += [(IGNORED, None, p, None) for p in image.matches.excused]
    rows += [(IGNORED, t, None, None) for t, segment in true.items() if segment.is_crowd]
    result = []
    for kind, t, p, iou in rows:
        segment = true[t] if t is not None else predicted[p]
        if not segment.area:  # in the JSON only
            continue
        x, y = _anchor(image.pairs.truth == t if t is not None else image.pairs.prediction == p)
        result.append(
            [
                kind,
                -1 if t is None else classes[true[t].class_id],
                -1 if p is None else classes[predicted[p].class_id],
                None if iou is None else round(iou, _DIGITS),
                segment.area,
                round(x, _DIGITS),
                round(y, _DIGITS),
                None if p is None else records[p].score,
            ]
        )
    return result


def _anchor(mask: np.ndarray) -> tuple[float, float]:
    """A point in the middle of the longest run of the middle row of a mask with pixels; x and y in [0, 1]."""
    coarse = mask[::_ANCHOR_STEP, ::_ANCHOR_STEP]
    used = coarse if coarse.any() else mask
    rows = np.flatnonzero(used.any(1))
    row = int(rows[len(rows) // 2])
    columns = np.flatnonzero(used[row])
    runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    longest = max(runs, key=len)
    return (float(longest.mean()) + 0.5) / used.shape[1], (row + 0.5) / used.shape[0]


def confused_pixels(image: ScoredImage, classes: Mapping[int, int]) -> collections.Counter:
    """Pixels by positions of the true and the predicted class, -1 without a predicted segment; void and crowds do not count."""
    counts = collections.Counter()
    for (t, p), pixels in image.pairs.overlaps.items():
        true, predicted = image.pairs.true.get(t), image.pairs.predicted.get(p)
        if true and not true.is_crowd:
            counts[classes[true.class_id], -1 if predicted is None else classes[predicted.class_id]] += pixels
    return counts

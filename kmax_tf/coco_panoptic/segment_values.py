"""Area, bounding box and score of segments, as in COCO's result formats."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from kmax_tf.evaluation.segments import decode_segments, label_runs, segment_scores
from protos.descriptions import DatasetInfo

_SCORE_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class SegmentValues:
    """What result formats say about a segment.

    `area` is in pixels, `bbox` is x, y, width and height in pixels. `score` is the confidence in [0, 1]: mean class confidence
    times mean mask probability of its pixels; None: unknown. Mask AP (mask_ap.py) and DeepLab2 rank things by the same score.
    The first factor is the class confidence of a thing's mask, or the mean over the masks of stuff.
    """

    class_id: int
    area: int
    bbox: tuple[int, int, int, int]
    score: float | None


def segment_values(
    panoptic: np.ndarray, info: DatasetInfo, image_name: str, scores: Mapping[str, np.ndarray] | None = None
) -> dict[int, SegmentValues]:
    """The segments of a map [H, W] of class id * label_divisor + instance id by ascending label, without void.

    `scores` are the maps `semantic_scores` and `instance_scores` [H, W] in [0, 1] of `kmax_tf.build_postprocessor`.

    Raises:
      EvaluationError: a label has an unknown class; the message starts with `image_name`.
    """
    found = decode_segments(panoptic, info, image_name, crowds=False)
    if not found:
        return {}
    runs = label_runs(panoptic)
    row, left = np.divmod(runs.starts, panoptic.shape[1])
    count = len(runs.values)
    low = np.full([2, count], max(panoptic.shape))
    high = np.zeros([2, count], np.int64)
    for axis, (first, end) in enumerate(((left, left + runs.lengths), (row, row + 1))):
        np.minimum.at(low[axis], runs.which, first)
        np.maximum.at(high[axis], runs.which, end)
    boxes = np.concatenate([low, high - low]).T.tolist()
    products = [None] * count
    if scores is not None:
        products = np.clip(segment_scores(runs, scores), 0.0, 1.0).round(_SCORE_DIGITS).tolist()
    return {
        label: SegmentValues(found[label].class_id, found[label].area, tuple(box), score)
        for label, box, score in zip(runs.values.tolist(), boxes, products, strict=True)
        if label in found
    }

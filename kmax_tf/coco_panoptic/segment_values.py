"""Score and bounding box of a segment, as in COCO's result formats."""

from collections.abc import Mapping

import numpy as np

_SCORE_DIGITS = 6


def segment_score(mask: np.ndarray, scores: Mapping[str, np.ndarray]) -> float:
    """Confidence of a segment in [0, 1]: mean class confidence times mean mask probability of its pixels.

    Mask AP (mask_ap.py) and DeepLab2 rank things by the same score. The first factor is the class confidence of a thing's mask,
    or the mean over the masks of stuff. `mask` is bool [H, W], `scores` as in `PanopticResultsWriter.add`.
    """
    semantic, instance = (float(scores[name][mask].mean(dtype=np.float64)) for name in ("semantic_scores", "instance_scores"))
    return round(min(max(semantic * instance, 0.0), 1.0), _SCORE_DIGITS)


def bounding_box(mask: np.ndarray) -> list[int]:
    """x, y, width and height in pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]

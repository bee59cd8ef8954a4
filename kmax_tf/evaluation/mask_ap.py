"""COCO's mask average precision of the thing segments of panoptic maps, computed by pycocotools."""

import contextlib
import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kmax_tf.evaluation.segments import Segment

# The order of COCOeval.stats: precision over IoU 0.5 .. 0.95, then recall with 1, 10 and 100 detections per image.
_NAMES = (
    *("ap", "ap_50", "ap_75", "ap_small", "ap_medium", "ap_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)


class MaskAP:
    """Collects thing segments as run-length codes; the scores are computed in `result`."""

    def __init__(self, thing_ids: Sequence[int]):
        self._thing_ids = frozenset(thing_ids)
        self._images: list[dict] = []
        self._truths: list[dict] = []
        self._detections: list[dict] = []

    def update(
        self,
        ground_truth: np.ndarray,
        true_segments: Mapping[int, Segment],
        prediction: np.ndarray,
        predicted_segments: Mapping[int, Segment],
        semantic_scores: np.ndarray,
        instance_scores: np.ndarray,
    ) -> None:
        """Adds one image: label maps [H, W] with their segments by label, and score maps [H, W] in [0, 1].

        The score of a predicted segment is its mean semantic score times its mean instance score. As in COCO, detections in
        crowd regions of the ground truth are not errors.
        """
        height, width = ground_truth.shape
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "height": height, "width": width})
        for labels, segments, entries in (
            (ground_truth, true_segments, self._truths),
            (prediction, predicted_segments, self._detections),
        ):
            for label, segment in segments.items():
                if segment.class_id not in self._thing_ids:
                    continue
                mask = labels == label
                entry = {
                    "id": len(entries) + 1,
                    "image_id": image_id,
                    "category_id": segment.class_id,
                    "area": segment.area,
                    "iscrowd": int(segment.is_crowd),
                    "segmentation": rle.encode(np.asfortranarray(mask, np.uint8)),
                }
                if entries is self._detections:
                    scores = (maps[mask].mean(dtype=np.float64) for maps in (semantic_scores, instance_scores))
                    entry["score"] = float(math.prod(scores))
                entries.append(entry)

    def result(self) -> dict[str, float | None]:
        """COCO's twelve numbers in percent, `ap` first.

        A number is None if it is undefined: without a true instance (of that size), or without thing classes.
        """
        if not self._truths:
            return dict.fromkeys(_NAMES)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._coco(self._truths), self._coco(self._detections), "segm")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return {name: 100 * float(x) if x >= 0 else None for name, x in zip(_NAMES, evaluation.stats, strict=True)}

    def _coco(self, annotations: list[dict]) -> COCO:
        # COCO.loadRes fails on an empty list. The copies are needed because COCOeval adds its own keys.
        coco, categories = COCO(), [{"id": class_id} for class_id in sorted(self._thing_ids)]
        coco.dataset = {"images": self._images, "annotations": [dict(a) for a in annotations], "categories": categories}
        coco.createIndex()
        return coco

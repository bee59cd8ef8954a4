"""COCO's mask average precision of the thing segments of panoptic maps, computed by pycocotools."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

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


class _Image(NamedTuple):
    """True and detected instances as annotations of COCO that lack only the ids of image and annotation."""

    name: str
    size: tuple[int, int]
    truths: list[dict]
    detections: list[dict]


class MaskAP:
    """Collects thing segments as run-length codes; the scores are computed in `result`."""

    def __init__(self, thing_ids: Sequence[int]):
        self._thing_ids = frozenset(thing_ids)
        self._images: list[_Image] = []

    def update(
        self,
        image_name: str,
        ground_truth: np.ndarray,
        true_segments: Mapping[int, Segment],
        prediction: np.ndarray,
        predicted_segments: Mapping[int, Segment],
        scores: Mapping[int, float],
    ) -> None:
        """Adds one image: label maps [H, W] with their segments by label, and the scores of predicted things by label.

        As in COCO, detections in crowd regions of the ground truth are not errors. Detections with equal scores are ranked in
        the order of image names, and in an image in that of the segments.
        """
        truths = self._annotations(ground_truth, true_segments, dict.fromkeys(true_segments))
        detections = self._annotations(prediction, predicted_segments, scores)
        self._images.append(_Image(image_name, ground_truth.shape, truths, detections))

    def _annotations(
        self, labels: np.ndarray, segments: Mapping[int, Segment], scores: Mapping[int, float | None]
    ) -> list[dict]:
        return [
            {
                "category_id": segment.class_id,
                "area": segment.area,
                "iscrowd": int(segment.is_crowd),
                "segmentation": rle.encode(np.asfortranarray(labels == label, np.uint8)),
                "score": scores[label],
            }
            for label, segment in segments.items()
            if segment.class_id in self._thing_ids
        ]

    def merge(self, other: "MaskAP") -> None:
        """Adds the images of `other`, which has the same classes."""
        self._images += other._images

    def result(self) -> dict[str, float | None]:
        """COCO's twelve numbers in percent, `ap` first.

        A number is None if it is undefined: without a true instance (of that size), or without thing classes.
        """
        images = sorted(self._images, key=lambda image: image.name)
        if not any(image.truths for image in images):
            return dict.fromkeys(_NAMES)
        with contextlib.redirect_stdout(io.StringIO()):
            truths, detections = (self._coco(images, key) for key in ("truths", "detections"))
            evaluation = COCOeval(truths, detections, "segm")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return {name: 100 * float(x) if x >= 0 else None for name, x in zip(_NAMES, evaluation.stats, strict=True)}

    def _coco(self, images: Sequence[_Image], key: str) -> COCO:
        # COCO.loadRes fails on an empty list.
        annotations = [
            annotation | {"image_id": image_id}
            for image_id, image in enumerate(images, 1)
            for annotation in getattr(image, key)
        ]
        for annotation_id, annotation in enumerate(annotations, 1):
            annotation["id"] = annotation_id
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i, "height": x.size[0], "width": x.size[1]} for i, x in enumerate(images, 1)],
            "annotations": annotations,
            "categories": [{"id": class_id} for class_id in sorted(self._thing_ids)],
        }
        coco.createIndex()
        return coco

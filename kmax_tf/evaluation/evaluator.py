"""Computes all metrics of an experiment: PQ, mask AP and mIoU of the maps at raw image size."""

from collections.abc import Mapping

import numpy as np

from kmax_tf.evaluation.mask_ap import MaskAP
from kmax_tf.evaluation.panoptic_quality import PanopticQuality, display_names
from kmax_tf.evaluation.segment_matching import LabelPairs
from kmax_tf.evaluation.segments import EvaluationError, decode_segments, label_runs, segment_scores
from protos import evaluator_pb2
from protos.descriptions import DatasetInfo


class PanopticEvaluator:
    """Scores predictions image by image; `result` may be called at any time."""

    def __init__(self, info: DatasetInfo, options: evaluator_pb2.EvaluatorOptions | None = None):
        """Metrics for the classes of `info`; of the config's `options`, `detailed_ap_metrics` and `boundary_pq` add some."""
        self._info = info
        self._options = options or evaluator_pb2.EvaluatorOptions()
        self._quality = PanopticQuality(info.classes, boundaries=self._options.boundary_pq)
        self._ap = MaskAP(info.thing_ids)
        self._iou = MeanIoU(info)

    def update(self, image_name: str, prediction: Mapping[str, np.ndarray], panoptic_gt: np.ndarray) -> None:
        """Adds one image.

        Args:
          image_name: used in error messages.
          prediction: `panoptic_pred`, `semantic_pred`, `semantic_scores` and `instance_scores`, each [H, W], at raw size.
          panoptic_gt: int map [H, W] of class id * label_divisor + instance id. Pixels of a thing class with instance id 0
            are a crowd region; those of the ignore label are void.

        Raises:
          EvaluationError: the sizes differ, or a label has an unknown class.
        """
        for key in ("panoptic_pred", "semantic_pred", "semantic_scores", "instance_scores"):
            if prediction[key].shape != panoptic_gt.shape:
                raise EvaluationError(
                    f"{image_name}: {key} has size {_size(prediction[key])}, but the ground truth has {_size(panoptic_gt)} "
                    "(height x width); resize predictions to the size of the raw image"
                )
        panoptic_pred = prediction["panoptic_pred"]
        truth = decode_segments(panoptic_gt, self._info, image_name, crowds=True)
        predicted = decode_segments(panoptic_pred, self._info, image_name, crowds=False)
        self._quality.add(LabelPairs(panoptic_gt, truth, panoptic_pred, predicted))
        runs = label_runs(panoptic_pred)
        scores = runs.by_value(segment_scores(runs, prediction))
        self._ap.update(image_name, panoptic_gt, truth, panoptic_pred, predicted, scores)
        self._iou.update(panoptic_gt // self._info.label_divisor, prediction["semantic_pred"])

    def merge(self, other: "PanopticEvaluator") -> None:
        """Adds the images of `other`, which has the same classes and options.

        The result is exactly that of one evaluator of all images, however they are distributed, if image names are unique.
        """
        self._quality.merge(other._quality)
        self._ap.merge(other._ap)
        self._iou.merge(other._iou)

    def result(self) -> dict[str, float | None | dict]:
        """All metrics in percent: `pq`, `sq`, `rq`, `pq_things`, `pq_stuff`, `mean_iou`, `ap` and `per_class`.

        `per_class` maps class names to `pq`, `sq`, `rq`, `tp`, `fp`, `fn` and `iou`. `detailed_ap_metrics` adds `ap_50` ..
        `ar_large`, `boundary_pq` the numbers of boundaries (PanopticQuality.result). A metric is None if it is undefined
        because its classes are not in the dataset or occur in no image.
        """
        metrics = self._quality.result()
        per_class = metrics.pop("per_class")
        metrics["mean_iou"], ious = self._iou.result()
        ap = self._ap.result()
        metrics.update(ap if self._options.detailed_ap_metrics else {"ap": ap["ap"]})
        names = display_names(self._info.classes)
        metrics["per_class"] = {names[i]: {**per_class[names[i]], "iou": iou} for i, iou in ious.items()}
        return metrics


def _size(array: np.ndarray) -> str:
    return " x ".join(str(n) for n in array.shape)


class MeanIoU:
    """A confusion matrix over the classes of a dataset; pixels whose true class is the ignore label are ignored."""

    def __init__(self, info: DatasetInfo):
        self._first = info.classes[0].id
        self._ids = [c.id for c in info.classes]
        # The last column counts predictions of no class: false negatives of the true class, but no false positives.
        self._confusion = np.zeros([info.num_classes, info.num_classes + 1], np.int64)

    def update(self, ground_truth: np.ndarray, prediction: np.ndarray) -> None:
        """Adds one image: two integer maps [H, W] of class ids; pixels whose true id is not a class are ignored."""
        count = len(self._ids)
        true, predicted = ground_truth.astype(np.int64) - self._first, prediction.astype(np.int64) - self._first
        known = (true >= 0) & (true < count)
        predicted = np.where((predicted >= 0) & (predicted < count), predicted, count)
        cells = true[known] * (count + 1) + predicted[known]
        self._confusion += np.bincount(cells, minlength=self._confusion.size).reshape(self._confusion.shape)

    def merge(self, other: "MeanIoU") -> None:
        """Adds the images of `other`, which has the same classes."""
        self._confusion += other._confusion

    def result(self) -> tuple[float | None, dict[int, float | None]]:
        """Mean and IoU by class id, in percent; classes without a true or predicted pixel are None and not in the mean.

        The mean is None if no class has a pixel.
        """
        both = np.diagonal(self._confusion)
        either = self._confusion.sum(1) + self._confusion[:, :-1].sum(0) - both
        per_class = {i: 100 * float(b) / float(e) if e else None for i, b, e in zip(self._ids, both, either, strict=True)}
        values = [v for v in per_class.values() if v is not None]
        return sum(values) / len(values) if values else None, per_class

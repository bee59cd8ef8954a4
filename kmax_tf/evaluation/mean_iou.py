"""Mean intersection over union of semantic maps."""

import numpy as np

from protos.descriptions import DatasetInfo


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

    def result(self) -> tuple[float | None, dict[int, float | None]]:
        """Mean and IoU by class id, in percent; classes without a true or predicted pixel are None and not in the mean.

        The mean is None if no class has a pixel.
        """
        both = np.diagonal(self._confusion)
        either = self._confusion.sum(1) + self._confusion[:, :-1].sum(0) - both
        per_class = {i: 100 * float(b) / float(e) if e else None for i, b, e in zip(self._ids, both, either, strict=True)}
        values = [v for v in per_class.values() if v is not None]
        return sum(values) / len(values) if values else None, per_class

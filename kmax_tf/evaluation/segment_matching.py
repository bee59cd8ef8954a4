"""Matches predicted and true segments of one image with the rules of COCO's official script."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from kmax_tf.evaluation import boundaries
from kmax_tf.evaluation.segments import Segment, count_pairs


@dataclasses.dataclass(frozen=True)
class SegmentMatches:
    """What became of the segments of an image, which are named by their labels.

    `matched`: (true, predicted, IoU in (0.5, 1]) of each true positive. `missed`: false negatives. `wrong`: false positives.
    `excused`: predicted segments that do not count, because more than half of their area is in void or a crowd region.
    """

    matched: tuple[tuple[int, int, float], ...]
    missed: tuple[int, ...]
    wrong: tuple[int, ...]
    excused: tuple[int, ...]


@dataclasses.dataclass(eq=False)
class LabelPairs:
    """Overlaps of two label maps [H, W], `truth` and `prediction`, from which segments are matched; labels are in [0, 2^31).

    `true` and `predicted` are their segments by label; labels without a segment are void.
    """

    truth: np.ndarray
    true: Mapping[int, Segment]
    prediction: np.ndarray
    predicted: Mapping[int, Segment]

    def __post_init__(self):
        self.overlaps = count_pairs(self.truth, self.prediction)
        # Pixels of each predicted label in void of the ground truth.
        self.over_void = collections.Counter()
        for (true, predicted), overlap in self.overlaps.items():
            if true not in self.true:
                self.over_void[predicted] += overlap

    def match(self) -> SegmentMatches:
        """Matches segments of the same class whose IoU is above 0.5, where the union excludes void of the ground truth.

        Unmatched crowd regions are not errors, and neither are predicted segments with more than half of their area in void and
        the crowd region of their class.
        """
        return self._select((true, predicted, self.iou(true, predicted)) for true, predicted in self.candidates())

    def match_boundaries(self) -> SegmentMatches:
        """As `match`, but the IoU is the smaller one of the mask IoU and the boundary IoU (Cheng et al., arXiv 2103.16562)."""
        overlap = boundaries.BoundaryOverlap(self.truth, self.prediction, self.true)
        return self._select(
            (true, predicted, min(self.iou(true, predicted), overlap.iou(true, predicted)))
            for true, predicted in self.candidates()
            if self.iou(true, predicted) > 0.5
        )

    def candidates(self, *, same_class: bool = True) -> list[tuple[int, int]]:
        """Labels of true segments without crowds and predicted segments that overlap."""
        found = []
        for true, predicted in self.overlaps:
            a, b = self.true.get(true), self.predicted.get(predicted)
            if a and b and not a.is_crowd and (a.class_id == b.class_id or not same_class):
                found.append((true, predicted))
        return found

    def iou(self, true: int, predicted: int) -> float:
        """IoU of two segments that overlap."""
        overlap = self.overlaps[true, predicted]
        return overlap / (self.true[true].area + self.predicted[predicted].area - overlap - self.over_void[predicted])

    def _select(self, pairs: Iterable[tuple[int, int, float]]) -> SegmentMatches:
        matched = tuple(pair for pair in pairs if pair[2] > 0.5)
        found, used = {true for true, _, _ in matched}, {predicted for _, predicted, _ in matched}
        missed = [label for label, segment in self.true.items() if label not in found and not segment.is_crowd]
        # As in the official script, only the last crowd region of a class is used.
        crowds = {segment.class_id: label for label, segment in self.true.items() if segment.is_crowd}
        wrong, excused = [], []
        for label, segment in self.predicted.items():
            if label not in used:
                ignored = self.over_void[label] + self.overlaps.get((crowds.get(segment.class_id, -1), label), 0)
                (excused if ignored > 0.5 * segment.area else wrong).append(label)
        return SegmentMatches(matched, tuple(missed), tuple(wrong), tuple(excused))

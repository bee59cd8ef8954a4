"""Panoptic quality (Kirillov et al., arXiv 1801.00868) with the rules of COCO's official script."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from kmax_tf.evaluation.segments import Segment, count_pairs
from protos.descriptions import ClassInfo


@dataclasses.dataclass
class _Counts:
    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou: float = 0.0

    def quality(self) -> dict[str, float | int]:
        """`pq` = `sq` * `rq`, in percent; zeros for a class without any segment."""
        sq = self.iou / self.tp if self.tp else 0.0
        size = self.tp + 0.5 * self.fp + 0.5 * self.fn
        rq = self.tp / size if size else 0.0
        return {"pq": 100 * sq * rq, "sq": 100 * sq, "rq": 100 * rq, "tp": self.tp, "fp": self.fp, "fn": self.fn}


class PanopticQuality:
    """Matches predicted and true segments image by image and counts true and false positives per class."""

    def __init__(self, classes: Sequence[ClassInfo]):
        self._classes = tuple(classes)
        self._counts = {c.id: _Counts() for c in classes}

    def update(
        self,
        ground_truth: np.ndarray,
        true_segments: Mapping[int, Segment],
        prediction: np.ndarray,
        predicted_segments: Mapping[int, Segment],
    ) -> None:
        """Adds one image: two integer maps [H, W] of labels in [0, 2^31), and their segments by label.

        Labels without a segment are void. Two segments match if they have the same class and their IoU is above 0.5, where the
        union excludes void of the ground truth. Unmatched crowd regions are not errors, and neither are predicted segments with
        more than half of their area in void and the crowd region of their class.
        """
        pairs = count_pairs(ground_truth, prediction)
        matched = set()
        over_void = collections.Counter()
        for (true, predicted), overlap in pairs.items():
            if true not in true_segments:
                over_void[predicted] += overlap
        for (true, predicted), overlap in pairs.items():
            a, b = true_segments.get(true), predicted_segments.get(predicted)
            if a is None or b is None or a.is_crowd or a.class_id != b.class_id:
                continue
            iou = overlap / (a.area + b.area - overlap - over_void[predicted])
            if iou > 0.5:
                self._counts[a.class_id].tp += 1
                self._counts[a.class_id].iou += iou
                matched |= {("true", true), ("predicted", predicted)}
        # As in the official script, only the last crowd region of a class is used.
        crowds = {segment.class_id: label for label, segment in true_segments.items() if segment.is_crowd}
        for label, segment in true_segments.items():
            self._counts[segment.class_id].fn += ("true", label) not in matched and not segment.is_crowd
        for label, segment in predicted_segments.items():
            excused = over_void[label] + pairs.get((crowds.get(segment.class_id, -1), label), 0)
            self._counts[segment.class_id].fp += ("predicted", label) not in matched and excused <= 0.5 * segment.area

    def result(self) -> dict[str, float | None | dict]:
        """`pq`, `sq`, `rq`, `pq_things`, `pq_stuff` in percent, and `per_class`: the quality and counts of each class by name.

        Means are over the classes with at least one true or predicted segment, and None if there are no such classes.
        """
        per_class = {c.id: self._counts[c.id].quality() for c in self._classes}

        def mean(key: str, kinds: tuple[bool, ...] = (True, False)) -> float | None:
            group = [per_class[c.id] for c in self._classes if c.is_thing in kinds]
            values = [q[key] for q in group if q["tp"] + q["fp"] + q["fn"]]
            return sum(values) / len(values) if values else None

        return {
            "pq": mean("pq"),
            "sq": mean("sq"),
            "rq": mean("rq"),
            "pq_things": mean("pq", (True,)),
            "pq_stuff": mean("pq", (False,)),
            "per_class": {name: per_class[class_id] for class_id, name in display_names(self._classes).items()},
        }


def display_names(classes: Sequence[ClassInfo]) -> dict[int, str]:
    """Name of each class by id; the id is appended to names that are not unique."""
    uses = collections.Counter(c.name for c in classes)
    return {c.id: c.name if uses[c.name] == 1 else f"{c.name} ({c.id})" for c in classes}

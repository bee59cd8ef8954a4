"""Panoptic quality (Kirillov et al., arXiv 1801.00868) with the rules of COCO's official script."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from kmax_tf.evaluation.segment_matching import LabelPairs, SegmentMatches
from kmax_tf.evaluation.segments import Segment
from protos.descriptions import ClassInfo

# An IoU above one half is a multiple of 2^-53 as a float. Sums of integers do not depend on their order.
_UNIT = 1 << 53


@dataclasses.dataclass
class _Counts:
    """True and false positives and false negatives, and the sum of IoU in 2^-53."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou: int = 0

    def add(self, other: "_Counts") -> None:
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def quality(self) -> dict[str, float | int]:
        """`pq` = `sq` * `rq`, in percent; zeros for a class without any segment."""
        sq = self.iou / (self.tp * _UNIT) if self.tp else 0.0
        size = self.tp + 0.5 * self.fp + 0.5 * self.fn
        rq = self.tp / size if size else 0.0
        return {"pq": 100 * sq * rq, "sq": 100 * sq, "rq": 100 * rq, "tp": self.tp, "fp": self.fp, "fn": self.fn}


class ClassQuality:
    """Counts matches per class, in any order and in any number of parts that are merged."""

    def __init__(self, classes: Sequence[ClassInfo]):
        self._classes = tuple(classes)
        self._counts: dict[int, _Counts] = collections.defaultdict(_Counts)

    def add(self, matches: SegmentMatches, true: Mapping[int, Segment], predicted: Mapping[int, Segment]) -> None:
        """Adds the matches of one image; `true` and `predicted` are its segments by label."""
        for label, _, iou in matches.matched:
            self._counts[true[label].class_id].add(_Counts(tp=1, iou=int(iou * _UNIT)))
        for label in matches.missed:
            self._counts[true[label].class_id].fn += 1
        for label in matches.wrong:
            self._counts[predicted[label].class_id].fp += 1

    def merge(self, other: "ClassQuality") -> None:
        """Adds the images of `other`, which has the same classes: exactly the counts and sums of a single object."""
        for class_id, counts in other._counts.items():
            self._counts[class_id].add(counts)

    def result(self) -> dict[str, float | None | dict]:
        """See PanopticQuality.result."""
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


class PanopticQuality:
    """Matches predicted and true segments image by image and counts true and false positives per class."""

    def __init__(self, classes: Sequence[ClassInfo], *, boundaries: bool = False):
        """`boundaries`: also compute Boundary PQ (LabelPairs.match_boundaries), which takes about as long again."""
        self._masks = ClassQuality(classes)
        self._boundaries = ClassQuality(classes) if boundaries else None

    def add(self, pairs: LabelPairs) -> SegmentMatches:
        """Adds one image and returns its matches by masks."""
        matches = pairs.match()
        self._masks.add(matches, pairs.true, pairs.predicted)
        if self._boundaries:
            self._boundaries.add(pairs.match_boundaries(), pairs.true, pairs.predicted)
        return matches

    def merge(self, other: "PanopticQuality") -> None:
        """Adds the images of `other`, which has the same classes and options; the result is exactly that of a single object."""
        self._masks.merge(other._masks)
        if self._boundaries and other._boundaries:
            self._boundaries.merge(other._boundaries)

    def result(self) -> dict[str, float | None | dict]:
        """`pq`, `sq`, `rq`, `pq_things`, `pq_stuff` in percent, and `per_class`: the quality and counts of each class by name.

        With boundaries, there are also `boundary_pq`, `boundary_sq` and so on, and `boundary_pq`, `boundary_sq` and
        `boundary_rq` of each class. Means are over the classes with at least one true or predicted segment, and None if there
        are no such classes.
        """
        metrics = self._masks.result()
        if self._boundaries:
            per_class = metrics.pop("per_class")
            more = self._boundaries.result()
            for name, quality in more.pop("per_class").items():
                per_class[name] |= {f"boundary_{key}": quality[key] for key in ("pq", "sq", "rq")}
            metrics |= {f"boundary_{key}": value for key, value in more.items()}
            metrics["per_class"] = per_class
        return metrics


def display_names(classes: Sequence[ClassInfo]) -> dict[int, str]:
    """Name of each class by id; the id is appended to names that are not unique."""
    uses = collections.Counter(c.name for c in classes)
    return {c.id: c.name if uses[c.name] == 1 else f"{c.name} ({c.id})" for c in classes}

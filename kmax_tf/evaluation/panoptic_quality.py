"""Panoptic quality (Kirillov et al., arXiv 1801.00868) with the rules of COCO's official script."""

import collections
from collections.abc import Sequence

from kmax_tf.evaluation.segment_matching import LabelPairs, SegmentMatches
from protos.descriptions import ClassInfo

# An IoU above one half is a multiple of 2^-53 as a float. Sums of integers do not depend on their order.
_UNIT = 1 << 53


class PanopticQuality:
    """Matches predicted and true segments image by image, in any order, and counts true and false positives per class."""

    def __init__(self, classes: Sequence[ClassInfo], *, boundaries: bool = False):
        """`boundaries`: also compute Boundary PQ (LabelPairs.match_boundaries), which takes about as long again."""
        self._classes = tuple(classes)
        self._boundaries = boundaries
        # By the prefix of metrics, the class id, and "tp", "fp", "fn" or "iou", the sum of IoU in 2^-53.
        self._counts: collections.Counter[tuple[str, int, str]] = collections.Counter()

    def add(self, pairs: LabelPairs) -> SegmentMatches:
        """Adds one image and returns its matches by masks."""
        matches = pairs.match()
        self._count("", pairs, matches)
        if self._boundaries:
            self._count("boundary_", pairs, pairs.match_boundaries())
        return matches

    def _count(self, prefix: str, pairs: LabelPairs, matches: SegmentMatches) -> None:
        for label, _, iou in matches.matched:
            self._counts[prefix, pairs.true[label].class_id, "tp"] += 1
            self._counts[prefix, pairs.true[label].class_id, "iou"] += int(iou * _UNIT)
        for label in matches.missed:
            self._counts[prefix, pairs.true[label].class_id, "fn"] += 1
        for label in matches.wrong:
            self._counts[prefix, pairs.predicted[label].class_id, "fp"] += 1

    def merge(self, other: "PanopticQuality") -> None:
        """Adds the images of `other`, which has the same classes and options; the result is exactly that of a single object."""
        self._counts.update(other._counts)

    def result(self) -> dict[str, float | None | dict]:
        """`pq`, `sq`, `rq`, `pq_things`, `pq_stuff` in percent, and `per_class`: the quality and counts of each class by name.

        `pq` = `sq` * `rq` of a class, zeros without any segment. With boundaries, there are also `boundary_pq`, `boundary_sq`
        and so on, and `boundary_pq`, `boundary_sq` and `boundary_rq` of each class. Means are over the classes with at least
        one true or predicted segment, and None if there are no such classes.
        """
        metrics: dict[str, float | None | dict] = {}
        per_class: dict[int, dict[str, float | int]] = {c.id: {} for c in self._classes}
        for prefix in ("", "boundary_") if self._boundaries else ("",):
            present = []
            for c in self._classes:
                counts = {key: self._counts[prefix, c.id, key] for key in ("tp", "fp", "fn")}
                quality = _quality(**counts, iou=self._counts[prefix, c.id, "iou"])
                per_class[c.id] |= {prefix + key: value for key, value in quality.items()} | ({} if prefix else counts)
                if any(counts.values()):
                    present.append((c, quality))
            for key in ("pq", "sq", "rq"):
                metrics[prefix + key] = _mean([quality[key] for _, quality in present])
            metrics[f"{prefix}pq_things"] = _mean([quality["pq"] for c, quality in present if c.is_thing])
            metrics[f"{prefix}pq_stuff"] = _mean([quality["pq"] for c, quality in present if not c.is_thing])
        return metrics | {"per_class": {name: per_class[i] for i, name in display_names(self._classes).items()}}


def _quality(tp: int, fp: int, fn: int, iou: int) -> dict[str, float]:
    sq = iou / (tp * _UNIT) if tp else 0.0
    size = tp + 0.5 * fp + 0.5 * fn
    rq = tp / size if size else 0.0
    return {"pq": 100 * sq * rq, "sq": 100 * sq, "rq": 100 * rq}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def display_names(classes: Sequence[ClassInfo]) -> dict[int, str]:
    """Name of each class by id; the id is appended to names that are not unique."""
    uses = collections.Counter(c.name for c in classes)
    return {c.id: c.name if uses[c.name] == 1 else f"{c.name} ({c.id})" for c in classes}

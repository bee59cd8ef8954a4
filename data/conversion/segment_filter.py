"""Selects which segments of an annotation become labels."""

import dataclasses

from kmax_tf.coco_panoptic.segments import SegmentRecord


@dataclasses.dataclass(frozen=True)
class SegmentFilter:
    """Keeps segments with a `score` of at least `min_score`, in [0, 1], and at least `min_area` pixels."""

    min_score: float | None = None
    min_area: int = 0

    @property
    def active(self) -> bool:
        """Whether any segment could be dropped."""
        return self.min_score is not None or self.min_area > 0

    def __str__(self) -> str:
        limits = (("--min_score", self.min_score), ("--min_area", self.min_area or None))
        return " and ".join(f"{flag}={limit}" for flag, limit in limits if limit is not None)

    def keeps(self, segment: SegmentRecord, area: int) -> bool:
        """Whether a segment of `area` pixels becomes a label; with `min_score`, it must have a score."""
        return area >= self.min_area and (self.min_score is None or segment.score >= self.min_score)

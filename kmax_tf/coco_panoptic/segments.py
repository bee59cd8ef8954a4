"""Entries of `segments_info`."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from kmax_tf.coco_panoptic import values
from kmax_tf.coco_panoptic.values import PanopticFileError


@dataclasses.dataclass(frozen=True)
class SegmentRecord:
    """One segment; `area` in pixels and `score` in [0, 1] are None if they are missing."""

    id: int
    category_id: int
    is_crowd: bool = False
    area: float | None = None
    score: float | None = None


def parse_segment(entry: Mapping[str, Any], where: str) -> SegmentRecord:
    """Parses one entry.

    Raises:
      PanopticFileError: a value is missing or has a wrong type; the message names `where`, the segment and the value.
    """
    segment_id = values.value(entry, "id", f"{where}: a segment", values.SEGMENT_ID)
    name = f"{where}: segment {segment_id}"
    category_id = values.value(entry, "category_id", name, values.WHOLE)
    is_crowd = bool(values.optional(entry, "iscrowd", name, values.FLAG))
    area, score = values.optional(entry, "area", name, values.AREA), values.optional(entry, "score", name, values.SCORE)
    return SegmentRecord(segment_id, category_id, is_crowd, area, score)


def parse_segments(entries: Iterable[Mapping[str, Any]], where: str) -> dict[int, SegmentRecord]:
    """Parses the segments of one annotation, by id, in the order of the entries.

    Raises:
      PanopticFileError: as parse_segment, or two segments have the same id.
    """
    segments: dict[int, SegmentRecord] = {}
    for entry in entries:
        segment = parse_segment(entry, where)
        if segment.id in segments:
            raise PanopticFileError(f"{where}: segment {segment.id} is listed twice: create the annotation again")
        segments[segment.id] = segment
    return segments

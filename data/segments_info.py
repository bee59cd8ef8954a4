"""Entries of `segments_info`: what they must hold, and which of them become labels."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from data.records import DataError

_LARGEST_ID = (1 << 24) - 1


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

    def keeps(self, segment: Mapping[str, Any], area: int) -> bool:
        """Whether a segment that covers `area` pixels becomes a label; its score must have been checked if it is needed."""
        return area >= self.min_area and (self.min_score is None or segment["score"] >= self.min_score)


def check_segment(segment: Mapping[str, Any], where: str) -> None:
    """Checks the types and ranges of the values of one entry.

    Raises:
      DataError: names `where`, the segment and the value.
    """
    name = f"{where}: segment {segment.get('id')!r}"
    missing = [key for key in ("id", "category_id") if key not in segment]
    if missing:
        raise DataError(f"{name} has no {' and no '.join(missing)}: make the annotation again")
    for key, expected, valid in (
        ("id", f"a whole number 1 .. {_LARGEST_ID} (0: pixels without a segment)", _is_id),
        ("category_id", "a whole number", is_whole),
        ("area", "a number of pixels", _is_area),
        ("iscrowd", "0 or 1", is_flag),
        ("score", "a number in [0, 1]", is_score),
    ):
        if key in segment and not valid(segment[key]):
            raise DataError(f"{name} has {key} {segment[key]!r}, which is not {expected}: make the annotation again")


def is_whole(value: Any) -> bool:
    """Whether a value of a JSON file is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_flag(value: Any) -> bool:
    """Whether a value of a JSON file is 0, 1, true or false."""
    return isinstance(value, int) and value in (0, 1)


def is_score(value: Any) -> bool:
    """Whether a value of a JSON file is a number in [0, 1]."""
    return _is_number(value) and 0 <= value <= 1


def _is_id(value: Any) -> bool:
    return is_whole(value) and 1 <= value <= _LARGEST_ID


def _is_area(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_number(value: Any) -> bool:
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))

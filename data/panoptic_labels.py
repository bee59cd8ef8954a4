"""From a COCO panoptic PNG and its JSON annotation to a panoptic map.

The format is that of https://cocodataset.org/#format-data (panoptic segmentation): each pixel of the PNG holds a segment id
R + 256 G + 65536 B, and `segments_info` lists id, category_id, area and iscrowd of each segment.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.records import DataError
from protos.descriptions import ClassInfo, DatasetInfo


@dataclasses.dataclass
class LabelCounts:
    """What labels hold, added up over images; `pixels` and `unlabelled` (pixels without a class) are areas."""

    images: int = 0
    crowds: int = 0
    pixels: int = 0
    unlabelled: int = 0
    segments: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)

    def add(self, other: "LabelCounts") -> None:
        self.images += other.images
        self.crowds += other.crowds
        self.pixels += other.pixels
        self.unlabelled += other.unlabelled
        self.segments.update(other.segments)


def segment_ids(rgb: np.ndarray) -> np.ndarray:
    """Segment ids, int32 [h, w], of an RGB map uint8 [h, w, 3]."""
    wide = rgb.astype(np.int32)
    return wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2]


def panoptic_map(
    ids: np.ndarray,
    segments: Sequence[Mapping[str, Any]],
    info: DatasetInfo,
    *,
    treat_crowd_as_ignore: bool = True,
    where: str,
) -> tuple[np.ndarray, LabelCounts]:
    """Turns segment ids into panoptic ids.

    Things get instance ids 1, 2, ... per class in the order of `segments`, stuff has instance id 0. Crowds lose their class,
    or keep it with instance id 0. Pixels of no listed segment have the ignore label.

    Args:
      ids: segment ids [h, w].
      segments: `segments_info` of the annotation.
      info: the classes; a segment's category_id is looked up in them.
      treat_crowd_as_ignore: crowds become pixels without a label.
      where: file that opens every error message.

    Returns:
      The panoptic map, int32 [h, w], and what it holds.

    Raises:
      DataError: unknown category, crowd of a stuff class, more instances than the label divisor can tell apart, segment
        listed twice, or an area that is not the recorded one.
    """
    present, inverse, areas = np.unique(ids, return_inverse=True, return_counts=True)
    area_of = dict(zip(present.tolist(), areas.tolist(), strict=True))
    categories = info.by_category()
    panoptic_of: dict[int, int] = {}
    instances: collections.Counter[int] = collections.Counter()
    counts = LabelCounts(images=1, pixels=int(ids.size))
    for segment in segments:
        name = f"{where}: segment {segment.get('id')}"
        segment_id, entry = _check_segment(segment, categories, area_of, name)
        if segment_id in panoptic_of:
            raise DataError(f"{name} is listed twice")
        if segment.get("iscrowd"):
            counts.crowds += 1
            panoptic_of[segment_id] = info.void_label if treat_crowd_as_ignore else entry.id * info.label_divisor
            continue
        # A segment of an annotation without areas may be hidden by others completely.
        counts.segments[entry.id] += segment_id in area_of
        instances[entry.id] += entry.is_thing
        if instances[entry.id] >= info.label_divisor:
            raise DataError(
                f"{name} is instance {instances[entry.id]} of {entry.name!r}: the panoptic_label_divisor of {info.name}, "
                f"{info.label_divisor}, allows {info.label_divisor - 1}"
            )
        panoptic_of[segment_id] = entry.id * info.label_divisor + instances[entry.id]
    table = np.array([panoptic_of.get(i, info.void_label) for i in present.tolist()], dtype=np.int32)
    counts.unlabelled = sum(a for a, label in zip(areas.tolist(), table, strict=True) if label == info.void_label)
    return table[inverse].reshape(ids.shape), counts


def _check_segment(
    segment: Mapping[str, Any], categories: Mapping[int, ClassInfo], area_of: Mapping[int, int], name: str
) -> tuple[int, ClassInfo]:
    missing = [key for key in ("id", "category_id") if key not in segment]
    if missing:
        raise DataError(f"{name} has no {' and no '.join(missing)}")
    entry = categories.get(segment["category_id"])
    if entry is None:
        raise DataError(f"{name} has category_id {segment['category_id']}, which the dataset description does not know")
    if segment.get("iscrowd") and not entry.is_thing:
        raise DataError(f"{name} is a crowd of {entry.name!r}, which is stuff: only things have crowds")
    area = area_of.get(segment["id"], 0)
    if segment.get("area", area) != area:
        raise DataError(
            f"{name} covers {area} pixels of the PNG, but its area in the JSON is {segment['area']}: "
            "JSON and PNG do not belong together, or the PNG was changed"
        )
    return segment["id"], entry

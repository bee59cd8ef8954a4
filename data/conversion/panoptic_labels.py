"""Converts a COCO panoptic PNG and its JSON annotation to a panoptic map.

The format is that of https://cocodataset.org/#format-data (panoptic segmentation): each pixel of the PNG is a segment id, and
`segments_info` lists id, category_id, area and iscrowd of each segment.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from data.conversion.label_counts import LabelCounts
from data.conversion.segment_filter import SegmentFilter
from data.records.schema import DataError
from kmax_tf.coco_panoptic.segments import SegmentRecord, parse_segments
from protos.descriptions import ClassInfo, DatasetInfo

_EVERY_SEGMENT = SegmentFilter()


def panoptic_map(
    ids: np.ndarray,
    segments: Sequence[Mapping[str, Any]],
    info: DatasetInfo,
    *,
    treat_crowd_as_ignore: bool = True,
    segment_filter: SegmentFilter = _EVERY_SEGMENT,
    where: str,
) -> tuple[np.ndarray, LabelCounts]:
    """Converts segment ids to panoptic ids.

    Things get instance ids 1, 2, ... per class in the order of `segments`, stuff gets instance id 0. Pixels with id 0 and
    segments that the filter drops get the ignore label.

    Args:
      ids: segment ids [h, w].
      segments: `segments_info` of the annotation.
      info: the classes, which the category ids refer to.
      treat_crowd_as_ignore: whether crowds get the ignore label; otherwise they keep their class, with instance id 0.
      segment_filter: which segments become labels.
      where: the label file; error messages start with it.

    Returns:
      The panoptic map, int32 [h, w], and its counts.

    Raises:
      UserError: a value has a wrong type, a category is unknown, a crowd is stuff, a class has more instances than the label
        divisor allows, a segment is listed twice or has no pixels, an id is not listed, or an area differs from the PNG's.
    """
    present, inverse, areas = np.unique(ids, return_inverse=True, return_counts=True)
    area_of = dict(zip(present.tolist(), areas.tolist(), strict=True))
    categories = info.by_category()
    panoptic_of: dict[int, int] = {0: info.void_label}
    counts = LabelCounts(images=1, pixels=int(ids.size))
    for segment in parse_segments(segments, where).values():
        name = f"{where}: segment {segment.id}"
        entry, area = _class_and_area(segment, categories, area_of, name)
        label = info.void_label
        if not segment_filter.keeps(segment, area):
            counts.dropped += 1
        elif segment.is_crowd:
            counts.crowds += 1
            if not treat_crowd_as_ignore:
                label = entry.id * info.label_divisor
        else:
            counts.segments[entry.id] += 1
            label = _label(entry, counts.segments[entry.id], info, name)
        panoptic_of[segment.id] = label
    _check_listed(area_of, panoptic_of, where)
    table = np.array([panoptic_of[i] for i in present.tolist()], dtype=np.int32)
    counts.unlabelled = int(areas[table == info.void_label].sum())
    return table[inverse].reshape(ids.shape), counts


def _label(entry: ClassInfo, number: int, info: DatasetInfo, name: str) -> int:
    """Panoptic id of the segment with this number in its class."""
    if not entry.is_thing:
        return entry.id * info.label_divisor
    if number >= info.label_divisor:
        raise DataError(
            f"{name} is instance {number} of {entry.name!r}, but the panoptic_label_divisor of {info.name}, "
            f"{info.label_divisor}, allows only {info.label_divisor - 1}; all records of a dataset need the same divisor: for "
            "data/build_panoptic.py, delete the description and the records of all splits, and convert them again with "
            f"--label_divisor={2 * info.label_divisor} or more"
        )
    return entry.id * info.label_divisor + number


def _class_and_area(
    segment: SegmentRecord, categories: Mapping[int, ClassInfo], area_of: Mapping[int, int], name: str
) -> tuple[ClassInfo, int]:
    entry = categories.get(segment.category_id)
    if entry is None:
        raise DataError(
            f"{name} has category_id {segment.category_id}, which is not in the dataset description: correct the annotation or "
            "use the description of these categories"
        )
    if segment.is_crowd and not entry.is_thing:
        raise DataError(
            f"{name} is a crowd of {entry.name!r}, which is stuff; only things can be crowds: set its iscrowd to 0 in the JSON"
        )
    area = area_of.get(segment.id, 0)
    if segment.area not in (None, area):
        raise DataError(
            f"{name} covers {area} pixels of the PNG, but its area in the JSON is {segment.area}: "
            "JSON and PNG do not match, or the PNG was changed"
        )
    if not area:
        raise DataError(f"{name} covers 0 pixels of the PNG: remove it from the JSON, or create the PNG again")
    return entry, area


def _check_listed(area_of: Mapping[int, int], listed: Collection[int], where: str) -> None:
    unlisted = [i for i in area_of if i not in listed]
    if unlisted:
        raise DataError(
            f"{where}: segment {unlisted[0]} ({area_of[unlisted[0]]} pixels) is not in segments_info of its annotation "
            f"({len(unlisted)} such ids in total): JSON and PNG do not match (pixels without a segment must have id 0)"
        )

"""Segments of a panoptic map: their labels, areas and classes."""

import dataclasses

import numpy as np

from protos.descriptions import DatasetInfo
from protos.errors import UserError


class EvaluationError(UserError):
    """A prediction or ground truth cannot be scored; the message names the image and the problem."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """One segment; `area` in pixels. A crowd region consists of several instances of a thing."""

    class_id: int
    area: int
    is_crowd: bool = False


def count_labels(labels: np.ndarray) -> dict[int, int]:
    """Pixels of each value of an integer map of any shape, by ascending value."""
    flat = np.ascontiguousarray(labels).reshape(-1)
    if not flat.size:
        return {}
    # Adjacent pixels are mostly equal: sorting runs instead of pixels is an order of magnitude faster.
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    values, which = np.unique(flat[starts], return_inverse=True)
    counts = np.bincount(which, weights=np.diff(np.append(starts, flat.size)))
    return {int(v): int(c) for v, c in zip(values, counts, strict=True)}


def count_pairs(first: np.ndarray, second: np.ndarray) -> dict[tuple[int, int], int]:
    """Number of pixels of each pair of labels of two maps of the same shape; labels are in [0, 2^31)."""
    pairs = count_labels(first.astype(np.int64) << 32 | second.astype(np.int64))
    return {(key >> 32, key & 0xFFFFFFFF): count for key, count in pairs.items()}


def decode_segments(panoptic: np.ndarray, info: DatasetInfo, image_name: str, crowds: bool) -> dict[int, Segment]:
    """Segments of a map of `class id * label_divisor + instance id`, by label, without void.

    With `crowds` (ground truth), the pixels of a thing class with instance id 0 are a crowd region.

    Raises:
      EvaluationError: a label has an unknown class.
    """
    classes = info.by_id()
    segments = {}
    for label, area in count_labels(panoptic).items():
        class_id, instance = divmod(label, info.label_divisor)
        if class_id == info.ignore_label:
            continue
        if class_id not in classes:
            kind = "ground truth" if crowds else "prediction"
            raise EvaluationError(
                f"{image_name}: the {kind} has label {label}, class {class_id} with label divisor {info.label_divisor}, "
                f"but {info.name} has classes {info.classes[0].id} to {info.classes[-1].id} and ignores {info.ignore_label}"
            )
        segments[label] = Segment(class_id, area, crowds and classes[class_id].is_thing and instance == 0)
    return segments

"""Segments of a panoptic map: which labels it holds, how large they are, which class they have."""

import dataclasses

import numpy as np

from protos.descriptions import DatasetInfo
from protos.errors import UserError


class EvaluationError(UserError):
    """Prediction or ground truth that cannot be scored; the message names the image and what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """One segment; `area` in pixels. A crowd region is a thing whose instances are not told apart."""

    class_id: int
    area: int
    is_crowd: bool = False


def count_labels(labels: np.ndarray) -> dict[int, int]:
    """Pixels of each value of an integer map of any shape, by ascending value."""
    flat = np.ascontiguousarray(labels).reshape(-1)
    if not flat.size:
        return {}
    # Neighboring pixels mostly agree: sorting runs instead of pixels is an order of magnitude faster.
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    values, which = np.unique(flat[starts], return_inverse=True)
    counts = np.bincount(which, weights=np.diff(np.append(starts, flat.size)))
    return {int(v): int(c) for v, c in zip(values, counts, strict=True)}


def count_pairs(first: np.ndarray, second: np.ndarray) -> dict[tuple[int, int], int]:
    """Pixels of each pair of labels of two maps of one shape, whose labels are in [0, 2^31)."""
    pairs = count_labels(first.astype(np.int64) << 32 | second.astype(np.int64))
    return {(key >> 32, key & 0xFFFFFFFF): count for key, count in pairs.items()}


def decode_segments(panoptic: np.ndarray, info: DatasetInfo, image_name: str, crowds: bool) -> dict[int, Segment]:
    """Segments of a map coded `class id * label_divisor + instance id`, by label; void pixels belong to none.

    With `crowds` (ground truth), the pixels of a thing class with instance id 0 are a crowd region.

    Raises:
      EvaluationError: a label has a class that the dataset does not know.
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

"""Segments of a panoptic map: their labels, areas and classes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

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


@dataclasses.dataclass(frozen=True)
class LabelRuns:
    """Runs of equal adjacent values in the rows of an integer map: few in maps of segments, so that passes over them are fast.

    `values` are those of the map, ascending; the others describe the runs, from left to right and row by row: position of the
    first pixel in the flat map, number of pixels, position of the value in `values`.
    """

    values: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    which: np.ndarray

    def areas(self) -> np.ndarray:
        """Pixels of each value, int64."""
        return np.bincount(self.which, weights=self.lengths, minlength=len(self.values)).astype(np.int64)

    def by_value(self, numbers: np.ndarray) -> dict[int, Any]:
        """`numbers` [number of values] by the value that each belongs to."""
        return dict(zip(self.values.tolist(), numbers.tolist(), strict=True))

    def replaced(self, values: np.ndarray) -> np.ndarray:
        """The flat map with `values` [number of values, ...] in place of its own."""
        return np.repeat(values[self.which], self.lengths, axis=0)


def segment_scores(runs: LabelRuns, maps: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean semantic score times mean instance score over the pixels of each value, float64.

    `maps` holds `semantic_scores` and `instance_scores`, both of the shape of the map of the runs.
    """
    areas, product = runs.areas(), np.ones(len(runs.values))
    for name in ("semantic_scores", "instance_scores"):
        sums = np.add.reduceat(maps[name].reshape(-1), runs.starts, dtype=np.float64)
        product *= np.bincount(runs.which, weights=sums, minlength=len(areas)) / areas
    return product


def label_runs(labels: np.ndarray) -> LabelRuns:
    """The runs of an integer map of any shape."""
    if not labels.size:
        return LabelRuns(np.unique(labels), *np.zeros([3, 0], np.int64))
    rows = labels.reshape(-1, labels.shape[-1] if labels.ndim else 1)
    first = np.ones(rows.shape, bool)
    np.not_equal(rows[:, 1:], rows[:, :-1], out=first[:, 1:])
    starts = np.flatnonzero(first)
    values, which = np.unique(rows[first], return_inverse=True)
    return LabelRuns(values, starts, np.diff(np.append(starts, rows.size)), which)


def count_labels(labels: np.ndarray) -> dict[int, int]:
    """Pixels of each value of an integer map of any shape, by ascending value."""
    runs = label_runs(labels)
    return runs.by_value(runs.areas())


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

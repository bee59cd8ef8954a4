"""The pipeline's own coding of panoptic maps: class and segment of a pixel in one int32, each a shift or a mask away.

A code is `class id * 2^16 + instance flag * 2^15 + segment number`. Numbers 0, 1, ... count the segments of one image, stuff
and void included, so that tables of its segments are small. The flag marks the instances of thing classes; crowds, stuff and
void have none.
"""

import numpy as np
import tensorflow as tf

from data.records import DataError
from protos.descriptions import DatasetInfo

_CLASS_SHIFT = 16
_INSTANCE_FLAG = 1 << 15
_NUMBER_MASK = _INSTANCE_FLAG - 1
# Two images and their padding share the numbers after copy-paste.
_MOST_SEGMENTS = _INSTANCE_FLAG // 2 - 1


def encode(panoptic: np.ndarray, info: DatasetInfo) -> tuple[np.ndarray, np.ndarray]:
    """Codes of a panoptic map, int32 [h, w], and those of its segments in the order of their numbers, int32 [k].

    Args:
      panoptic: `class id * label_divisor + instance id`, int32 [h, w].
      info: the classes.

    Raises:
      DataError: a class id that the dataset does not have; an instance id where there can be none, which tells that the map was
        made with another label_divisor; or more segments than can be told apart.
    """
    divisor = info.label_divisor
    ids, table = _distinct(panoptic, info)
    semantic, instance = ids // divisor, ids % divisor
    things = set(info.thing_ids)
    is_thing = np.array([class_id in things for class_id in semantic.tolist()])
    wrong = ids[(instance > 0) & ~is_thing]
    if wrong.size:
        raise DataError(
            f"the label has instance id {wrong[0] % divisor} for class id {wrong[0] // divisor}, which is no thing of "
            f"{info.name} (panoptic id {wrong[0]}, panoptic_label_divisor {divisor}): it was made with another label divisor "
            "or other classes, so dataset is not the one these records were made for"
        )
    if len(ids) > _MOST_SEGMENTS:
        raise DataError(f"the label has {len(ids)} segments, more than {_MOST_SEGMENTS}: it is not a panoptic map")
    is_instance = is_thing & (instance > 0)
    table[ids] = (semantic << _CLASS_SHIFT) + is_instance * _INSTANCE_FLAG + np.arange(len(ids))
    return table.take(panoptic), table[ids]


def _distinct(panoptic: np.ndarray, info: DatasetInfo) -> tuple[np.ndarray, np.ndarray]:
    """Distinct panoptic ids, ascending, and an int32 table that is long enough for all ids there can be."""
    divisor = info.label_divisor
    size = max(info.num_ids, info.ignore_label + 1) * divisor
    if panoptic.min() < 0 or panoptic.max() >= size:
        _raise_unknown(panoptic[(panoptic < 0) | (panoptic >= size)], info)
    # A search among booleans is fast; the dozens of thousands of ids there can be are few beside the pixels.
    ids = np.flatnonzero(np.bincount(panoptic.ravel(), minlength=size) > 0)
    if ids[-1] >= info.num_ids * divisor:
        unknown = ids[(ids // divisor >= info.num_ids) & (ids // divisor != info.ignore_label)]
        if unknown.size:
            _raise_unknown(panoptic[np.isin(panoptic, unknown)], info)
    return ids, np.zeros(size, np.int32)


def _raise_unknown(labels: np.ndarray, info: DatasetInfo) -> None:
    raise DataError(
        f"the label holds class id {labels[0] // info.label_divisor} on {labels.size} pixels, which {info.name} does not have "
        f"(ids below {info.num_ids}, ignore_label {info.ignore_label}, panoptic_label_divisor {info.label_divisor}): "
        "dataset is not the one these records were made for"
    )


def class_ids(codes: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.right_shift(codes, _CLASS_SHIFT)


def is_instance(codes: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_and(codes, _INSTANCE_FLAG) > 0


def segment_numbers(codes: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_and(codes, _NUMBER_MASK)


def void_code(info: DatasetInfo, number: tf.Tensor | int = 0) -> tf.Tensor | int:
    """Code of pixels without a class that are segment `number` of their image."""
    return (info.ignore_label << _CLASS_SHIFT) + number

"""The pipeline's own encoding of panoptic maps: the class and the segment of a pixel in one int32.

A code is `class id * 2^16 + instance flag * 2^15 + segment number`. The numbers 0, 1, ... count the segments of one image,
including stuff and void, so that tables of its segments are small. The flag is set for instances of thing classes, but not for
crowds, stuff and void.
"""

import numpy as np
import tensorflow as tf

from data.records.label_map import LabelMap
from data.records.schema import DataError
from protos.descriptions import DatasetInfo

_CLASS_SHIFT = 16
_INSTANCE_FLAG = 1 << 15
_NUMBER_MASK = _INSTANCE_FLAG - 1
# After copy-paste, two images and their padding share the numbers.
_MOST_SEGMENTS = _INSTANCE_FLAG // 2 - 1


def encode(label: LabelMap, info: DatasetInfo) -> tuple[np.ndarray, np.ndarray]:
    """Codes of a label, int32 [h, w], and of its segments in the order of their numbers, int32 [k].

    Args:
      label: panoptic ids, `class id * label_divisor + instance id`.
      info: the classes.

    Raises:
      DataError: a class id is unknown, a class that is not a thing has an instance id (a sign of another label_divisor), or
        there are too many segments.
    """
    ids = label.ids
    semantic, instance = ids // info.label_divisor, ids % info.label_divisor
    _check_classes(label, semantic, info)
    things = set(info.thing_ids)
    is_thing = np.array([class_id in things for class_id in semantic.tolist()])
    # DeepLab2 ignores instance ids of void. If void is class 0, they are a sign of another divisor.
    is_void = (semantic == info.ignore_label) & (info.ignore_label > 0)
    wrong = ids[(instance > 0) & ~is_thing & ~is_void]
    if wrong.size:
        class_id, instance_id = divmod(int(wrong[0]), info.label_divisor)
        raise DataError(
            f"the label has instance id {instance_id} for class id {class_id}, which is not a thing of {info.name} (panoptic "
            f"id {wrong[0]}, panoptic_label_divisor {info.label_divisor}), so these records have another label divisor or "
            "other classes: set dataset to their description, or declare the class as a thing"
        )
    if len(ids) > _MOST_SEGMENTS:
        raise DataError(f"the label has {len(ids)} segments, more than {_MOST_SEGMENTS}: it is not a panoptic map")
    numbers = np.arange(len(ids))
    numbers[is_void] = numbers[is_void][:1]
    codes = (semantic << _CLASS_SHIFT) + (is_thing & (instance > 0)) * _INSTANCE_FLAG + numbers
    codes = codes.astype(np.int32)
    return codes.take(label.index), codes


def _check_classes(label: LabelMap, semantic: np.ndarray, info: DatasetInfo) -> None:
    unknown = ((semantic < 0) | (semantic >= info.num_ids)) & (semantic != info.ignore_label)
    pixels = np.count_nonzero(unknown[label.index]) if unknown.any() else 0
    if pixels:
        raise DataError(
            f"the label has class id {semantic[unknown.argmax()]} on {pixels} pixels, which is not in {info.name} (ids below "
            f"{info.num_ids}, ignore_label {info.ignore_label}, panoptic_label_divisor {info.label_divisor}): set dataset to "
            "the description of these records"
        )


def class_ids(codes: tf.Tensor) -> tf.Tensor:
    """Class id of each code; ignore_label for void."""
    return tf.bitwise.right_shift(codes, _CLASS_SHIFT)


def is_instance(codes: tf.Tensor) -> tf.Tensor:
    """Whether each code belongs to an instance of a thing class, bool."""
    return tf.bitwise.bitwise_and(codes, _INSTANCE_FLAG) > 0


def segment_numbers(codes: tf.Tensor) -> tf.Tensor:
    """Segment number of each code."""
    return tf.bitwise.bitwise_and(codes, _NUMBER_MASK)


def void_code(info: DatasetInfo, number: tf.Tensor | int = 0) -> tf.Tensor | int:
    """Code of void pixels that are segment `number` of their image."""
    return (info.ignore_label << _CLASS_SHIFT) + number

"""The pipeline's own coding of panoptic maps: class and segment of a pixel in one int32, each a shift or a mask away.

A code is `class id * 2^16 + instance flag * 2^15 + segment number`. Numbers 0, 1, ... count the segments of one image, stuff
and void included, so that tables of its segments are small. The flag marks the instances of thing classes; crowds, stuff and
void have none.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from data.records import DataError
from protos.descriptions import DatasetInfo

_CLASS_SHIFT = 16
_INSTANCE_FLAG = 1 << 15
_NUMBER_MASK = _INSTANCE_FLAG - 1
# Two images and their padding share the numbers after copy-paste.
_MOST_SEGMENTS = _INSTANCE_FLAG // 2 - 1
# Panoptic ids up to here and to the number of pixels are looked up in a table.
_SMALL_TABLE = 1 << 18


def encode(panoptic: np.ndarray, info: DatasetInfo) -> tuple[np.ndarray, np.ndarray]:
    """Codes of a panoptic map, int32 [h, w], and those of its segments in the order of their numbers, int32 [k].

    Args:
      panoptic: `class id * label_divisor + instance id`, int32 [h, w].
      info: the classes.

    Raises:
      DataError: a class id that the dataset does not have; an instance id where there can be none, which tells that the map was
        made with another label_divisor; or more segments than can be told apart.
    """
    ids, index = _distinct(panoptic, info)
    semantic, instance = ids // info.label_divisor, ids % info.label_divisor
    things = set(info.thing_ids)
    is_thing = np.array([class_id in things for class_id in semantic.tolist()])
    # DeepLab2 takes no notice of instance ids of void. Where that is class 0, they are what another divisor looks like.
    is_void = (semantic == info.ignore_label) & (info.ignore_label > 0)
    wrong = ids[(instance > 0) & ~is_thing & ~is_void]
    if wrong.size:
        class_id, instance_id = divmod(int(wrong[0]), info.label_divisor)
        raise DataError(
            f"the label has instance id {instance_id} for class id {class_id}, which is no thing of {info.name} (panoptic id "
            f"{wrong[0]}, panoptic_label_divisor {info.label_divisor}): it was made with another label divisor or other "
            "classes, so dataset is not the one these records were made for; or declare the class as a thing"
        )
    if len(ids) > _MOST_SEGMENTS:
        raise DataError(f"the label has {len(ids)} segments, more than {_MOST_SEGMENTS}: it is not a panoptic map")
    numbers = np.arange(len(ids))
    numbers[is_void] = numbers[is_void][:1]
    codes = (semantic << _CLASS_SHIFT) + (is_thing & (instance > 0)) * _INSTANCE_FLAG + numbers
    return index(codes.astype(np.int32)), codes.astype(np.int32)


def _distinct(panoptic: np.ndarray, info: DatasetInfo) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Distinct panoptic ids, ascending, and a function from values in their order to values of the pixels."""
    size = int(panoptic.max()) + 1
    if panoptic.min() < 0:
        _raise_unknown(panoptic[panoptic < 0], info)
    if size <= panoptic.size + _SMALL_TABLE:
        # A search among booleans is fast.
        ids = np.flatnonzero(np.bincount(panoptic.ravel(), minlength=size) > 0)
        table = np.zeros(size, np.int32)

        def per_pixel(values: np.ndarray) -> np.ndarray:
            table[ids] = values
            return table.take(panoptic)

    else:
        ids, inverse = np.unique(panoptic, return_inverse=True)

        def per_pixel(values: np.ndarray) -> np.ndarray:
            return values.take(inverse).reshape(panoptic.shape)

    unknown = ids[(ids // info.label_divisor >= info.num_ids) & (ids // info.label_divisor != info.ignore_label)]
    if unknown.size:
        _raise_unknown(panoptic[np.isin(panoptic, unknown)], info)
    return ids, per_pixel


def _raise_unknown(labels: np.ndarray, info: DatasetInfo) -> None:
    raise DataError(
        f"the label holds class id {labels[0] // info.label_divisor} on {labels.size} pixels, which {info.name} does not have "
        f"(ids below {info.num_ids}, ignore_label {info.ignore_label}, panoptic_label_divisor {info.label_divisor}): "
        "dataset is not the one these records were made for"
    )


def class_ids(codes: tf.Tensor) -> tf.Tensor:
    """Class id of each code; ignore_label for void."""
    return tf.bitwise.right_shift(codes, _CLASS_SHIFT)


def is_instance(codes: tf.Tensor) -> tf.Tensor:
    """Whether a code is that of an instance of a thing class, bool."""
    return tf.bitwise.bitwise_and(codes, _INSTANCE_FLAG) > 0


def segment_numbers(codes: tf.Tensor) -> tf.Tensor:
    """Number of the segment that each code stands for."""
    return tf.bitwise.bitwise_and(codes, _NUMBER_MASK)


def void_code(info: DatasetInfo, number: tf.Tensor | int = 0) -> tf.Tensor | int:
    """Code of pixels without a class that are segment `number` of their image."""
    return (info.ignore_label << _CLASS_SHIFT) + number

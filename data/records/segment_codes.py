"""The pipeline's own coding of panoptic maps: class and segment of a pixel in one int32, each a shift or a mask away.

A code is `class id * 2^16 + instance flag * 2^15 + segment number`. Numbers 0, 1, ... count the segments of one image, stuff
and void included, so that tables of its segments are small. The flag marks the instances of thing classes; crowds, stuff and
void have none.
"""

import numpy as np
import tensorflow as tf

from data.records.label_map import LabelMap
from data.records.schema import DataError
from protos.descriptions import DatasetInfo

_CLASS_SHIFT = 16
_INSTANCE_FLAG = 1 << 15
_NUMBER_MASK = _INSTANCE_FLAG - 1
# Two images and their padding share the numbers after copy-paste.
_MOST_SEGMENTS = _INSTANCE_FLAG // 2 - 1


def encode(label: LabelMap, info: DatasetInfo) -> tuple[np.ndarray, np.ndarray]:
    """Codes of a label, int32 [h, w], and those of its segments in the order of their numbers, int32 [k].

    Args:
      label: panoptic ids, `class id * label_divisor + instance id`.
      info: the classes.

    Raises:
      DataError: a class id that the dataset does not have; an instance id where there can be none, which tells that the map was
        made with another label_divisor; or more segments than can be told apart.
    """
    ids = label.ids
    semantic, instance = ids // info.label_divisor, ids % info.label_divisor
    _check_classes(label, semantic, info)
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
    codes = codes.astype(np.int32)
    return codes.take(label.index), codes


def _check_classes(label: LabelMap, semantic: np.ndarray, info: DatasetInfo) -> None:
    unknown = ((semantic < 0) | (semantic >= info.num_ids)) & (semantic != info.ignore_label)
    pixels = np.count_nonzero(unknown[label.index]) if unknown.any() else 0
    if pixels:
        raise DataError(
            f"the label holds class id {semantic[unknown.argmax()]} on {pixels} pixels, which {info.name} "
            f"does not have (ids below {info.num_ids}, ignore_label {info.ignore_label}, panoptic_label_divisor "
            f"{info.label_divisor}): dataset is not the one these records were made for"
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

"""The segments of panoptic maps, in TensorFlow graphs.

A segment is a number: the panoptic id of its pixels, or, for a segment that was pasted from another image, its bitwise
complement, which is negative. So the segments of two images differ, and each is known from its pixels.
"""

import tensorflow as tf

from data.records.graph_checks import require
from protos.descriptions import DatasetInfo


def pasted(segments: tf.Tensor) -> tf.Tensor:
    """The numbers of segments after they were pasted into another image."""
    return tf.bitwise.invert(segments)


def class_ids(segments: tf.Tensor, info: DatasetInfo) -> tf.Tensor:
    """Class id of each segment, int32; ignore_label for void."""
    return _panoptic_ids(segments) // info.label_divisor


def is_thing(classes: tf.Tensor, info: DatasetInfo) -> tf.Tensor:
    """Whether each class id, int32 [k], is a thing."""
    return tf.reduce_any(classes[:, None] == tf.constant(info.thing_ids, tf.int32, shape=[len(info.thing_ids)]), axis=1)


def is_instance(segments: tf.Tensor, info: DatasetInfo) -> tf.Tensor:
    """Whether each segment, int32 [k], is an instance of a thing class, and not a crowd, stuff or void."""
    return is_thing(class_ids(segments, info), info) & (_panoptic_ids(segments) % info.label_divisor > 0)


def _panoptic_ids(segments: tf.Tensor) -> tf.Tensor:
    return tf.maximum(segments, tf.bitwise.invert(segments))


def require_classes(panoptic: tf.Tensor, info: DatasetInfo) -> tf.Operation:
    """Checks the panoptic ids, int32 [h, w], of an image.

    Fails if a class id is unknown, or a class that is not a thing has an instance id, a sign of another label divisor.
    """
    ids, _, areas = tf.unique_with_counts(tf.reshape(panoptic, [-1]))
    classes, instances = ids // info.label_divisor, ids % info.label_divisor
    unknown = ((classes < 0) | (classes >= info.num_ids)) & (classes != info.ignore_label)
    # DeepLab2 ignores instance ids of void. If void is class 0, they are a sign of another divisor.
    is_void = (classes == info.ignore_label) & (info.ignore_label > 0)
    wrong = (instances > 0) & ~is_thing(classes, info) & ~is_void & ~unknown
    a, b = (tf.argmax(tf.concat([which, [True]], 0)) for which in (unknown, wrong))
    classes, instances, ids = (tf.concat([values, [0]], 0) for values in (classes, instances, ids))
    known = require(
        ~tf.reduce_any(unknown),
        "the label has class id ",
        classes[a],
        " on ",
        tf.reduce_sum(tf.where(unknown, areas, 0)),
        f" pixels, which is not in {info.name} (ids below {info.num_ids}, ignore_label {info.ignore_label}, "
        f"panoptic_label_divisor {info.label_divisor}): set dataset to the description of these records",
    )
    with tf.control_dependencies([known]):
        return require(
            ~tf.reduce_any(wrong),
            "the label has instance id ",
            instances[b],
            " for class id ",
            classes[b],
            f", which is not a thing of {info.name} (panoptic id ",
            ids[b],
            f", panoptic_label_divisor {info.label_divisor}), so these records have another label divisor or other classes: "
            "set dataset to their description, or declare the class as a thing",
        )

"""Training targets of kMaX-DeepLab from a map of segments."""

import tensorflow as tf

from data.records.segments import class_ids, is_instance
from kmax_tf.tensor_keys import SEMANTIC_GT, SEMANTIC_WEIGHT, THING_CLASS_GT, THING_MASK_GT
from protos import dataset_pb2
from protos.descriptions import DatasetInfo

# Class and instance of a pixel share 32 bits.
MOST_INSTANCES = (1 << 16) - 1


def build_targets(
    segments: tf.Tensor, options: dataset_pb2.DatasetOptions, info: DatasetInfo
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Computes the targets of one image.

    Instances are numbered in the order of their first pixel, row by row. If there are more than max_thing_id instances, the
    largest are kept and the others become void.

    Args:
      segments: the segment of each pixel, see data/records/segments.py, int32 [h, w].
      options: max_thing_id and the weights of small instances.
      info: classes of the dataset.

    Returns:
      `semantic_gt` int32 [h, w] (class ids, ignore_label for void), `semantic_loss_weight` float32 [h, w],
      `thing_id_mask_gt` int32 [h, w] (number of the instance, -1 for none), `thing_id_class_gt` int32 [max_thing_id] (class
      id of each instance, then -1); the number of dropped instances, int32; and the class id of each segment, int32 [k],
      ignore_label for void.
    """
    limit = options.max_thing_id
    distinct, index, areas = tf.unique_with_counts(tf.reshape(segments, [-1]))

    def per_pixel(values: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.reshape(tf.gather(values, index), tf.shape(segments)), segments.shape)

    classes, instances = class_ids(distinct, info), is_instance(distinct, info)
    # A stable sort keeps the first of two instances of the same size.
    rank = tf.argsort(tf.argsort(tf.where(instances, -areas, 1), stable=True))
    kept = instances & (rank < limit)
    dropped = instances & ~kept
    number = tf.where(kept, tf.cumsum(tf.cast(kept, tf.int32)) - 1, -1)
    if options.increase_small_instance_weights:
        weight = per_pixel(tf.where(kept & (areas < options.small_instance_threshold), options.small_instance_weight, 1.0))
    else:
        weight = tf.ones_like(segments, tf.float32)
    of_instances = tf.boolean_mask(classes, kept)
    of_instances = tf.concat([of_instances, tf.fill([limit - tf.size(of_instances)], -1)], axis=0)
    # One lookup instead of two.
    pixels = per_pixel(tf.bitwise.left_shift(tf.where(dropped, info.ignore_label, classes), 16) + number + 1)
    targets = {
        SEMANTIC_GT: tf.bitwise.right_shift(pixels, 16),
        SEMANTIC_WEIGHT: weight,
        THING_MASK_GT: tf.bitwise.bitwise_and(pixels, MOST_INSTANCES) - 1,
        THING_CLASS_GT: tf.ensure_shape(of_instances, [limit]),
    }
    return targets, tf.math.count_nonzero(dropped, dtype=tf.int32), classes

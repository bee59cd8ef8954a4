"""Training targets of kMaX-DeepLab from a map of segment codes."""

import dataclasses

import tensorflow as tf

from data.records import segment_codes
from kmax_tf.tensor_keys import SEMANTIC_GT, SEMANTIC_WEIGHT, THING_CLASS_GT, THING_MASK_GT
from protos import dataset_pb2
from protos.descriptions import DatasetInfo


@dataclasses.dataclass(frozen=True)
class TargetOptions:
    """Options of build_targets. Pixels of instances with less than `small_threshold` pixels have weight `small_weight`."""

    info: DatasetInfo
    max_thing_id: int
    small_threshold: int = 0
    small_weight: float = 1.0


def target_options(options: dataset_pb2.DatasetOptions, info: DatasetInfo) -> TargetOptions:
    """The target options of a dataset."""
    if not options.increase_small_instance_weights:
        return TargetOptions(info, options.max_thing_id)
    return TargetOptions(info, options.max_thing_id, options.small_instance_threshold, options.small_instance_weight)


def build_targets(codes: tf.Tensor, options: TargetOptions) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Computes the targets of one image.

    Instances are numbered in the order of their first pixel, row by row. If there are more than max_thing_id instances, the
    largest are kept and the others become void.

    Args:
      codes: segment codes int32 [h, w].
      options: see TargetOptions.

    Returns:
      `semantic_gt` int32 [h, w] (class ids, ignore_label for void), `semantic_loss_weight` float32 [h, w],
      `thing_id_mask_gt` int32 [h, w] (number of the instance, -1 for none), `thing_id_class_gt` int32 [max_thing_id] (class
      id of each instance, then -1); and the number of dropped instances, int32.
    """
    info, limit = options.info, options.max_thing_id
    segments, index, areas = tf.unique_with_counts(tf.reshape(codes, [-1]))

    def per_pixel(values: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.reshape(tf.gather(values, index), tf.shape(codes)), codes.shape)

    is_instance = segment_codes.is_instance(segments)
    # A stable sort keeps the first of two instances of the same size.
    rank = tf.argsort(tf.argsort(tf.where(is_instance, -areas, 1), stable=True))
    kept = is_instance & (rank < limit)
    number = tf.where(kept, tf.cumsum(tf.cast(kept, tf.int32)) - 1, -1)
    dropped = tf.reduce_sum(tf.cast(is_instance & ~kept, tf.int32))
    semantic = segment_codes.class_ids(codes)
    if options.small_threshold:
        weight = per_pixel(tf.where(kept & (areas < options.small_threshold), options.small_weight, 1.0))
    else:
        weight = tf.ones_like(codes, tf.float32)
    classes = tf.boolean_mask(segment_codes.class_ids(segments), kept)
    classes = tf.concat([classes, tf.fill([limit - tf.size(classes)], -1)], axis=0)
    targets = {
        SEMANTIC_GT: tf.cond(
            dropped > 0, lambda: tf.where(per_pixel(is_instance & ~kept), info.ignore_label, semantic), lambda: semantic
        ),
        SEMANTIC_WEIGHT: weight,
        THING_MASK_GT: per_pixel(number),
        THING_CLASS_GT: tf.ensure_shape(classes, [limit]),
    }
    return targets, dropped

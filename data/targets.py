"""Training targets of kMaX-DeepLab from a panoptic map."""

import dataclasses

import tensorflow as tf

from protos import dataset_pb2
from protos.descriptions import DatasetInfo


@dataclasses.dataclass(frozen=True)
class TargetOptions:
    """How targets are made.

    `label_divisor` is that of the panoptic map. Pixels of instances below `small_threshold` pixels weigh `small_weight`.
    """

    info: DatasetInfo
    label_divisor: int
    max_thing_id: int
    small_threshold: int = 0
    small_weight: float = 1.0


def target_options(options: dataset_pb2.DatasetOptions, info: DatasetInfo, *, label_divisor: int) -> TargetOptions:
    """Picks what concerns the targets from the options of a dataset."""
    if not options.increase_small_instance_weights:
        return TargetOptions(info, label_divisor, options.max_thing_id)
    return TargetOptions(
        info, label_divisor, options.max_thing_id, options.small_instance_threshold, options.small_instance_weight
    )


def build_targets(panoptic: tf.Tensor, options: TargetOptions) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Makes the targets of one image; no loop over its instances.

    Instances are the panoptic ids of thing classes with an instance id above 0. They are numbered in the order of their
    first pixel, row by row. Of more than max_thing_id instances the largest are kept and the others become void.

    Args:
      panoptic: panoptic map int32 [h, w].
      options: see TargetOptions.

    Returns:
      `semantic_gt` int32 [h, w] (class ids, ignore_label for void), `semantic_loss_weight` float32 [h, w],
      `thing_id_mask_gt` int32 [h, w] (number of the instance, -1 for none), `thing_id_class_gt` int32 [max_thing_id] (class
      id of each instance, -1 behind the last); and the number of instances that were dropped, int32.
    """
    info, limit = options.info, options.max_thing_id
    ids, index, areas = tf.unique_with_counts(tf.reshape(panoptic, [-1]))

    def per_pixel(values: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.reshape(tf.gather(values, index), tf.shape(panoptic)), panoptic.shape)

    semantic = ids // options.label_divisor
    is_instance = _is_thing(semantic, info) & (ids % options.label_divisor > 0)
    # A stable sort keeps the earlier one of two instances of the same size.
    rank = tf.argsort(tf.argsort(tf.where(is_instance, -areas, 1), stable=True))
    kept = is_instance & (rank < limit)
    number = tf.where(kept, tf.cumsum(tf.cast(kept, tf.int32)) - 1, -1)
    dropped = is_instance & ~kept
    if options.small_threshold:
        weight = per_pixel(tf.where(kept & (areas < options.small_threshold), options.small_weight, 1.0))
    else:
        weight = tf.ones_like(panoptic, tf.float32)
    classes = tf.boolean_mask(semantic, kept)
    classes = tf.concat([classes, tf.fill([limit - tf.size(classes)], -1)], axis=0)

    targets = {
        "semantic_gt": per_pixel(tf.where(dropped, info.ignore_label, semantic)),
        "semantic_loss_weight": weight,
        "thing_id_mask_gt": per_pixel(number),
        "thing_id_class_gt": tf.ensure_shape(classes, [limit]),
    }
    return targets, tf.reduce_sum(tf.cast(dropped, tf.int32))


def _is_thing(semantic: tf.Tensor, info: DatasetInfo) -> tf.Tensor:
    table = [class_id in info.thing_ids for class_id in range(max(info.num_ids, info.ignore_label + 1))]
    return tf.gather(tf.constant(table), semantic)

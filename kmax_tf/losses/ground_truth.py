"""Ground truth at the resolution of the masks: one row for each thing instance and each stuff class."""

import dataclasses

import tensorflow as tf

from kmax_tf.layers.sizes import sizes
from kmax_tf.tensor_keys import SEMANTIC_GT, THING_CLASS_GT, THING_MASK_GT
from protos.descriptions import DatasetInfo
from protos.errors import UserError


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """P pixels, G rows (thing instances, then stuff classes), C classes in the order of the class logits.

    Attributes:
      row_of_pixel: [B,P] int32, the row of each pixel; -1: none.
      labeled: [B,P] float32, 0 for void pixels and 1 for others.
      thing: [B,P] float32, 1 for pixels of thing instances and 0 for others.
      area: [B,G] float32, number of pixels of each row.
      exists: [B,G] bool, rows with pixels.
      row_class: [B,G] int32, index into the class logits; -1 if the row does not exist.
    """

    row_of_pixel: tf.Tensor
    labeled: tf.Tensor
    thing: tf.Tensor
    area: tf.Tensor
    exists: tf.Tensor
    row_class: tf.Tensor


def subsample(labels: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Takes every s-th pixel of labels [B,H,W], which gives [B,height,width].

    Raises:
      UserError: H-1 and W-1 are not the same multiple of height-1 and width-1.
    """
    full = labels.shape[1:3].as_list()
    stride = max(1, round((full[0] - 1) / max(height - 1, 1)))
    if [(size - 1) // stride + 1 for size in full] != [height, width] or any((size - 1) % stride for size in full):
        raise UserError(
            f"labels of {full[0]}x{full[1]} do not fit a prediction of {height}x{width}; use sizes of the form 32k+1"
        )
    return labels[:, ::stride, ::stride]


def sums_by_row(values: tf.Tensor, row_of_pixel: tf.Tensor, rows: int) -> tf.Tensor:
    """Sums of values [B,P,...] over the pixels of each row, [B,rows,...]; row_of_pixel [B,P] int32 is -1 for no row."""
    batch = sizes(row_of_pixel)[0]
    flat_row = tf.where(row_of_pixel >= 0, row_of_pixel + rows * tf.range(batch)[:, None], -1)
    sums = tf.math.unsorted_segment_sum(values, flat_row, rows * batch)
    return tf.reshape(sums, [batch, rows, *values.shape[2:]])


def prepare(targets: dict[str, tf.Tensor], height: int, width: int, info: DatasetInfo) -> GroundTruth:
    """Targets `semantic_gt`, `thing_id_mask_gt` [B,H,W] and `thing_id_class_gt` [B,T] at height x width."""
    semantic = _flatten(subsample(tf.cast(targets[SEMANTIC_GT], tf.int32), height, width))
    thing = _flatten(subsample(tf.cast(targets[THING_MASK_GT], tf.int32), height, width))
    thing_class = tf.cast(targets[THING_CLASS_GT], tf.int32)
    things = thing_class.shape[1]

    stuff_row = _lookup(info, info.stuff_ids, semantic)
    row_of_pixel = tf.where(thing >= 0, thing, tf.where(stuff_row >= 0, things + stuff_row, -1))
    area = sums_by_row(tf.ones_like(row_of_pixel, tf.float32), row_of_pixel, things + len(info.stuff_ids))
    exists = area > 0.5

    stuff_class = tf.range(len(info.thing_ids), info.num_classes)[None]
    stuff_class = tf.repeat(stuff_class, sizes(semantic)[0], 0)
    row_class = tf.concat([_lookup(info, info.class_order, thing_class), stuff_class], 1)
    row_class = tf.where(exists, row_class, -1)
    return GroundTruth(
        row_of_pixel,
        tf.cast(semantic != info.ignore_label, tf.float32),
        tf.cast(thing >= 0, tf.float32),
        area,
        exists & (row_class >= 0),
        row_class,
    )


def _flatten(labels: tf.Tensor) -> tf.Tensor:
    return tf.reshape(labels, [sizes(labels)[0], labels.shape[1] * labels.shape[2]])


def _lookup(info: DatasetInfo, ids: tuple[int, ...], labels: tf.Tensor) -> tf.Tensor:
    """Index in `ids` of each class id in labels; -1 if it is not there."""
    size = max(info.num_ids, info.ignore_label + 1)
    table = [ids.index(class_id) if class_id in ids else -1 for class_id in range(size)]
    known = (labels >= 0) & (labels < size)
    return tf.where(known, tf.gather(tf.constant(table, tf.int32), tf.clip_by_value(labels, 0, size - 1)), -1)

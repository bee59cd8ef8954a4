"""Panoptic copy-paste: pastes segments of a second image over the first (kMaX-DeepLab paper, training details)."""

import tensorflow as tf

from data.records import segments
from protos import dataset_pb2
from protos.descriptions import DatasetInfo

# The id of padding in a crop to paste.
PADDING = -1


def paste(
    base: tuple[tf.Tensor, tf.Tensor],
    pasted: tuple[tf.Tensor, tf.Tensor],
    seed: tf.Tensor,
    options: dataset_pb2.PanopticCopyPasteOptions,
    info: DatasetInfo,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Overwrites the base image and its label with some segments of the pasted image.

    First, a random number of the segments in the pasted crop is selected at random, where void and padding count as segments;
    then `all` keeps and `none` drops every thing, stuff or void segment. Padding is never pasted. Instances of the base image
    stay even if they are mostly covered.

    Args:
      base: image float32 [h, w, 3] and panoptic ids int32 [h, w].
      pasted: likewise, of the same size; padding is PADDING.
      seed: int64 [2].
      options: which segments to paste.
      info: the classes.

    Returns:
      The image and the segment of each pixel (data/records/segments.py).
    """
    (base_image, base_ids), (paste_image, paste_ids) = base, pasted
    ids, index = tf.unique(tf.reshape(paste_ids, [-1]))
    mask = tf.gather(_kept(ids, seed, options, info), index)
    # The older op selects whole rows of a matrix (here pixels) with a vector, which is three times faster.
    image = tf.raw_ops.Select(condition=mask, x=tf.reshape(paste_image, [-1, 3]), y=tf.reshape(base_image, [-1, 3]))
    merged = tf.where(tf.reshape(mask, tf.shape(paste_ids)), segments.pasted(paste_ids), base_ids)
    return tf.reshape(image, base_image.shape), merged


def _kept(ids: tf.Tensor, seed: tf.Tensor, options: dataset_pb2.PanopticCopyPasteOptions, info: DatasetInfo) -> tf.Tensor:
    """Which of the panoptic ids (or PADDING), int32 [k], of a crop are pasted, bool [k]."""
    is_padding = ids == PADDING
    semantic = tf.where(is_padding, PADDING, segments.class_ids(ids, info))
    is_void = semantic == info.ignore_label
    # Void is one segment, whatever its instance ids.
    distinct, members = tf.unique(tf.where(is_void, info.void_label, ids))
    uniform = tf.random.stateless_uniform([tf.size(distinct) + 1], seed)
    number = tf.cast(uniform[0] * tf.cast(tf.size(distinct) + 1, tf.float32), tf.int32)
    kept = tf.gather(tf.argsort(tf.argsort(uniform[1:])) < number, members)
    things = segments.is_thing(semantic, info)
    regions = ((things, "thing"), (~things & ~is_void & ~is_padding, "stuff"), (is_void, "void"))
    for region, name in regions:
        choice = getattr(options, f"panoptic_copy_paste_{name}_option")
        if choice != "random":
            kept = tf.where(region, choice == "all", kept)
    return kept & ~is_padding

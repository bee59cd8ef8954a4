"""Panoptic copy-paste: pastes segments of a second image over the first (kMaX-DeepLab paper, training details)."""

import tensorflow as tf

from data.records import segment_codes
from protos import dataset_pb2
from protos.descriptions import DatasetInfo


def paste(
    base: tuple[tf.Tensor, tf.Tensor],
    pasted: tuple[tf.Tensor, tf.Tensor],
    segments: tuple[tf.Tensor, tf.Tensor],
    seed: tf.Tensor,
    options: dataset_pb2.PanopticCopyPasteOptions,
    info: DatasetInfo,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Overwrites the base image and its label with some segments of the pasted image.

    First, a random number of the segments in the pasted crop is selected at random, where void and padding count as segments;
    then `all` keeps and `none` drops every thing, stuff or void segment. Padding is never pasted. Instances of the base image
    stay even if they are mostly covered.

    Args:
      base: image float32 [h, w, 3] and segment codes int32 [h, w].
      pasted: likewise, of the same size; padding has segment number k.
      segments: codes of the segments of the base image, int32 [n], and of the pasted image, int32 [k].
      seed: int64 [2].
      options: which segments to paste.
      info: the classes.

    Returns:
      The image and its segment codes; the numbers of pasted segments start at n.
    """
    (base_image, base_codes), (paste_image, paste_codes) = base, pasted
    numbers = tf.reshape(segment_codes.segment_numbers(paste_codes), [-1])
    count = tf.size(segments[1])
    present = tf.raw_ops.Bincount(arr=numbers, size=count + 1, weights=tf.constant([], tf.int32)) > 0
    kept = _kept_segments(segments[1], present, seed, options, info)
    mask = tf.gather(tf.concat([kept, [False]], 0), numbers)
    # The older op selects whole rows of a matrix (here pixels) with a vector, which is three times faster.
    image = tf.raw_ops.Select(condition=mask, x=tf.reshape(paste_image, [-1, 3]), y=tf.reshape(base_image, [-1, 3]))
    codes = tf.where(tf.reshape(mask, tf.shape(paste_codes)), paste_codes + tf.size(segments[0]), base_codes)
    return tf.reshape(image, base_image.shape), codes


def _kept_segments(
    segments: tf.Tensor, present: tf.Tensor, seed: tf.Tensor, options: dataset_pb2.PanopticCopyPasteOptions, info: DatasetInfo
) -> tf.Tensor:
    """Which of k segments are pasted, bool [k]; `present`, bool [k + 1]: which of them, and padding, are in the crop."""
    uniform = tf.random.stateless_uniform([tf.size(present) + 1], seed)
    count = tf.math.count_nonzero(present, dtype=tf.int32)
    number = tf.cast(uniform[0] * tf.cast(count + 1, tf.float32), tf.int32)
    # Absent segments come last.
    rank = tf.argsort(tf.argsort(tf.where(present, uniform[1:], 1.0)))
    kept = (rank < number)[:-1]
    semantic = segment_codes.class_ids(segments)
    is_void = semantic == info.ignore_label
    is_thing = tf.reduce_any(semantic[:, None] == tf.constant(info.thing_ids, tf.int32, shape=[len(info.thing_ids)]), axis=1)
    regions = ((is_thing, "thing"), (~is_thing & ~is_void, "stuff"), (is_void, "void"))
    for members, region in regions:
        choice = getattr(options, f"panoptic_copy_paste_{region}_option")
        if choice != "random":
            kept = tf.where(members, choice == "all", kept)
    return kept

"""Panoptic copy-paste: segments of a second image over the first (kMaX-DeepLab, training details of the paper)."""

import tensorflow as tf

from protos import dataset_pb2
from protos.descriptions import ConfigError, DatasetInfo

_CHOICES = ("random", "none", "all")


def check_options(options: dataset_pb2.PanopticCopyPasteOptions) -> None:
    """Raises ConfigError for a choice that does not exist."""
    for region in ("thing", "stuff", "void"):
        field = f"panoptic_copy_paste_{region}_option"
        if getattr(options, field) not in _CHOICES:
            raise ConfigError(f"{field} {getattr(options, field)!r} does not exist: choose one of {', '.join(_CHOICES)}")


def combined_divisor(info: DatasetInfo) -> int:
    """Label divisor of both images' labels: twice that of the dataset, so that instances of each have ids of their own."""
    return 2 * info.label_divisor


def padding_labels(info: DatasetInfo) -> tuple[int, int]:
    """Labels of padding around the base image, where it is void, and around the pasted one, where it is told from void."""
    void = info.ignore_label * combined_divisor(info)
    return void, void + 1


def widen(panoptic: tf.Tensor, info: DatasetInfo) -> tf.Tensor:
    """A panoptic map of the dataset with `combined_divisor`."""
    return panoptic + panoptic // info.label_divisor * info.label_divisor


def paste(
    base: tuple[tf.Tensor, tf.Tensor],
    pasted: tuple[tf.Tensor, tf.Tensor],
    seed: tf.Tensor,
    options: dataset_pb2.PanopticCopyPasteOptions,
    info: DatasetInfo,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Overwrites the base image and its label with a choice of the segments of the pasted one.

    A random number of segments, void and padding counted, is drawn; then `all` keeps and `none` drops every thing, stuff or
    void segment, and padding is always dropped. Instances that are nearly covered stay.

    Args:
      base: image float32 [h, w, 3] and widened panoptic map int32 [h, w].
      pasted: likewise, of the same size, with the second of `padding_labels` around the image.
      seed: int64 [2].
      options: what is kept.
      info: the classes.

    Returns:
      The image and its panoptic map with `combined_divisor`; pasted instances have ids from the dataset's divisor on.
    """
    (base_image, base_label), (paste_image, paste_label) = base, pasted
    ids, index = tf.unique(tf.reshape(paste_label, [-1]))
    kept = _kept_segments(ids, seed, options, info)
    values = tf.where(ids % combined_divisor(info) > 0, ids + info.label_divisor, ids)
    new_label = tf.reshape(tf.gather(tf.where(kept, values, -1), index), tf.shape(paste_label))
    mask = new_label >= 0
    # Multiplying by 0 and 1 is exact, and three times as fast as a choice that repeats the mask for each channel.
    share = tf.cast(mask, tf.float32)[..., None]
    return paste_image * share + base_image * (1.0 - share), tf.where(mask, new_label, base_label)


def _kept_segments(
    ids: tf.Tensor, seed: tf.Tensor, options: dataset_pb2.PanopticCopyPasteOptions, info: DatasetInfo
) -> tf.Tensor:
    """Which of the distinct, widened panoptic ids [k] are pasted, bool [k]."""
    count = tf.size(ids)
    uniform = tf.random.stateless_uniform([count + 1], seed)
    number = tf.cast(uniform[0] * tf.cast(count + 1, tf.float32), tf.int32)
    kept = tf.argsort(tf.argsort(uniform[1:])) < number
    semantic = ids // combined_divisor(info)
    is_void = semantic == info.ignore_label
    is_thing = tf.reduce_any(semantic[:, None] == tf.constant(info.thing_ids, tf.int32, shape=[len(info.thing_ids)]), axis=1)
    regions = ((is_thing, "thing"), (~is_thing & ~is_void, "stuff"), (is_void, "void"))
    for members, region in regions:
        choice = getattr(options, f"panoptic_copy_paste_{region}_option")
        if choice != "random":
            kept = tf.where(members, choice == "all", kept)
    return kept & (ids != padding_labels(info)[1])

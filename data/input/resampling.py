"""Sizes and resampling of images and labels, corners aligned.

An axis of n samples resized to m has its samples at i (n - 1) / (m - 1). Images are interpolated linearly, labels take the
nearest sample. A resize in several steps (to a range, then by a random scale) is done step by step, as published: two linear
interpolations are not one.
"""

from collections.abc import Sequence

import tensorflow as tf

# Height and width, in pixels.
Size = tuple[tf.Tensor, tf.Tensor]


def range_size(
    height: tf.Tensor,
    width: tf.Tensor,
    min_size: Sequence[int] | None,
    max_size: Sequence[int] | None,
    factor: int | None = None,
    *,
    reference_quirks: bool = True,
) -> Size:
    """Size after scaling up or down until no side is below `min_size`, then down until none is above `max_size`.

    The aspect ratio is kept and sides are rounded down.

    Args:
      height: int32 scalar, pixels; likewise width.
      width: see height.
      min_size: least height and width; not enforced where it is None or 0 for either side.
      max_size: largest height and width; likewise.
      factor: sides are rounded up to factor * k + 1 at the end, `max_size` down before.
      reference_quirks: with float32 ratios and a rounding after each of the two steps, as in the published code, where a side
        can end one pixel short; otherwise one step in double precision.
    """
    size_of = _published_size if reference_quirks else _exact_size
    if factor and max_size and all(max_size):
        max_size = [side - (side - 1) % factor for side in max_size]
    size = size_of((height, width), min_size or (0, 0), max_size or (0, 0))
    if factor:
        size = tuple(side + (1 - side) % factor for side in size)
    return tuple(tf.maximum(side, 1) for side in size)


def _published_size(size: Size, min_size: Sequence[int], max_size: Sequence[int]) -> Size:
    def scaled(ratio: tf.Tensor) -> Size:
        return tuple(tf.cast(tf.floor(tf.cast(side, tf.float32) * tf.cast(ratio, tf.float32)), tf.int32) for side in size)

    if all(min_size):
        size = scaled(tf.maximum(min_size[0] / size[0], min_size[1] / size[1]))
    if all(max_size):
        ratio = tf.minimum(max_size[0] / size[0], max_size[1] / size[1])
        size = tuple(tf.where(ratio < 1.0, small, side) for small, side in zip(scaled(ratio), size, strict=True))
    return size


def _exact_size(size: Size, min_size: Sequence[int], max_size: Sequence[int]) -> Size:
    ratio = tf.constant(1.0, tf.float64)
    if all(min_size):
        ratio = tf.maximum(min_size[0] / size[0], min_size[1] / size[1])
    if all(max_size):
        ratio = tf.minimum(ratio, tf.minimum(max_size[0] / size[0], max_size[1] / size[1]))
    # A product that is a whole number may come out just below it.
    return tuple(tf.cast(tf.floor(tf.cast(side, tf.float64) * ratio + 1e-6), tf.int32) for side in size)


def resize_image(image: tf.Tensor, sizes: Sequence[Size]) -> tf.Tensor:
    """uint8 [h, w, 3] to float32, resized to each of `sizes` after the other."""
    for size in sizes:
        image = tf.raw_ops.ResizeBilinear(images=image[None], size=tf.stack(size), align_corners=True)[0]
    return tf.cast(image, tf.float32)


def nearest(sizes: Sequence[tf.Tensor], index: tf.Tensor) -> tf.Tensor:
    """Where the samples `index` of a resized axis come from in the source.

    Args:
      sizes: samples of the source and after each step.
      index: int32 [k], positions on the axis after the last step.
    """
    for source, target in reversed(list(zip(sizes[:-1], sizes[1:], strict=True))):
        step = tf.cast(source - 1, tf.float32) / tf.cast(tf.maximum(target - 1, 1), tf.float32)
        position = tf.cast(index, tf.float32) * step
        below = tf.floor(position)
        index = tf.minimum(tf.cast(below, tf.int32) + tf.cast(position - below >= 0.5, tf.int32), source - 1)
    return index


def take(label: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Rows and columns of a label [h, w]."""
    # Columns of the few source rows first: whole rows are copied fast.
    return tf.gather(tf.gather(label, columns, axis=1), rows)

"""Sizes and resampling of images and labels, with aligned corners.

When an axis of n samples is resized to m, the samples are at i (n - 1) / (m - 1). Images are interpolated linearly, labels use
the nearest sample. Resizing to a range and then by a random scale is done in two steps, as published, which is not the same as
one linear interpolation.
"""

from collections.abc import Sequence

import tensorflow as tf

from kmax_tf.prediction.placement import InputSize

# Height and width, in pixels.
Size = tuple[tf.Tensor, tf.Tensor]


def range_size(height: tf.Tensor, width: tf.Tensor, input_size: InputSize) -> Size:
    """Height and width of an image of this size within the input, int32 scalars in pixels: InputSize.resized in a graph.

    The aspect ratio is kept and sides are rounded down; `max_size` is first rounded down to a multiple of `factor` plus 1. With
    reference_quirks, ratios are float32 and each of the two steps rounds, as in the published code, where a side can end up one
    pixel too short; otherwise there is one step in double precision.
    """
    size_of = _published_size if input_size.reference_quirks else _exact_size
    largest, factor = input_size.max_size or (0, 0), input_size.factor
    if factor and input_size.max_size:
        largest = [side - (side - 1) % factor for side in largest]
    size = size_of((height, width), input_size.min_size or (0, 0), largest)
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
    # A product that should be an integer may be slightly smaller.
    return tuple(tf.cast(tf.floor(tf.cast(side, tf.float64) * ratio + 1e-6), tf.int32) for side in size)


def resize_image(image: tf.Tensor, sizes: Sequence[Size]) -> tf.Tensor:
    """Resizes uint8 [h, w, 3] to each of `sizes` in turn, as float32."""
    for size in sizes:
        image = tf.raw_ops.ResizeBilinear(images=image[None], size=tf.stack(size), align_corners=True)[0]
    return tf.cast(image, tf.float32)


def nearest(sizes: Sequence[tf.Tensor], index: tf.Tensor) -> tf.Tensor:
    """Source positions of the samples `index` of a resized axis.

    Args:
      sizes: number of samples of the source and after each step.
      index: int32 [k], positions on the axis after the last step.
    """
    for source, target in reversed(list(zip(sizes[:-1], sizes[1:], strict=True))):
        step = tf.cast(source - 1, tf.float32) / tf.cast(tf.maximum(target - 1, 1), tf.float32)
        position = tf.cast(index, tf.float32) * step
        below = tf.floor(position)
        index = tf.minimum(tf.cast(below, tf.int32) + tf.cast(position - below >= 0.5, tf.int32), source - 1)
    return index


def take(label: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Selects rows and columns of a label [h, w]."""
    # Columns first, while there are few rows; copying whole rows is fast.
    return tf.gather(tf.gather(label, columns, axis=1), rows)

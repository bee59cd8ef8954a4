"""Sizes and resampling of images and labels (corners aligned), limited to the window that is needed.

An axis of n samples resized to m has its samples at i (n - 1) / (m - 1). Images are interpolated linearly, labels take the
nearest sample. All windows are given in the frame of the resized image, so that a crop of a resized image costs as much as the
crop.
"""

from collections.abc import Sequence

import tensorflow as tf


def range_size(
    height: tf.Tensor,
    width: tf.Tensor,
    min_size: Sequence[int] | None,
    max_size: Sequence[int] | None,
    factor: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Size after scaling up or down until no side is below `min_size`, then down until none is above `max_size`.

    The aspect ratio is kept and sides are rounded down, in float32 as in the published code: a side can end one pixel short.

    Args:
      height: int32 scalar, pixels; likewise width.
      width: see height.
      min_size: least height and width; None or 0: not enforced.
      max_size: largest height and width; None or 0: not enforced.
      factor: sides are rounded up to factor * k + 1 at the end.
    """
    if min_size and any(min_size):
        ratio = tf.maximum(min_size[0] / height, min_size[1] / width)
        height, width = _scale_down(height, ratio), _scale_down(width, ratio)
    if max_size and any(max_size):
        ratio = tf.minimum(max_size[0] / height, max_size[1] / width)
        too_large = ratio < 1.0
        height = tf.where(too_large, _scale_down(height, ratio), height)
        width = tf.where(too_large, _scale_down(width, ratio), width)
    if factor:
        height, width = (side + (1 - side) % factor for side in (height, width))
    return tf.maximum(height, 1), tf.maximum(width, 1)


def _scale_down(side: tf.Tensor, ratio: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.floor(tf.cast(side, tf.float32) * tf.cast(ratio, tf.float32)), tf.int32)


class Axis:
    """Resizing of one axis, perhaps in two steps (in range, then by a random scale), seen through a window of the result.

    `window` is (start, stop) in the resized frame.
    """

    def __init__(self, sizes: Sequence[tf.Tensor], window: tuple[tf.Tensor, tf.Tensor]) -> None:
        """`sizes`: samples of the source and after each step."""
        self._steps: list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]] = []
        index = tf.range(*window)
        self.nearest = index
        for source, target in reversed(list(zip(sizes[:-1], sizes[1:], strict=True))):
            nearest = tf.floor(_positions(self.nearest, source, target) + 0.5)
            self.nearest = tf.minimum(tf.cast(nearest, tf.int32), source - 1)
            position = _positions(index, source, target)
            lower = tf.cast(tf.floor(position), tf.int32)
            upper = tf.minimum(lower + 1, source - 1)
            first = lower[0]
            self._steps.insert(0, (lower - first, upper - first, position - tf.floor(position)))
            index = tf.range(first, upper[-1] + 1)
        self.source = (index[0], index[-1] + 1)

    def interpolate(self, image: tf.Tensor, axis: int) -> tf.Tensor:
        """Applies the steps to float32 [h, w, c], whose `axis` holds the samples source[0] .. source[1] - 1."""
        for lower, upper, fraction in self._steps:
            fraction = fraction[:, None, None] if axis == 0 else fraction[:, None]
            low, high = tf.gather(image, lower, axis=axis), tf.gather(image, upper, axis=axis)
            image = low + (high - low) * fraction
        return image


def resample_image(image: tf.Tensor, rows: Axis, columns: Axis) -> tf.Tensor:
    """The window of a resized image: uint8 [h, w, 3] to float32 [rows, columns, 3]."""
    needed = image[rows.source[0] : rows.source[1], columns.source[0] : columns.source[1]]
    return rows.interpolate(columns.interpolate(tf.cast(needed, tf.float32), 1), 0)


def resample_label(label: tf.Tensor, rows: Axis, columns: Axis) -> tf.Tensor:
    """The window of a resized label, of any type, [h, w] to [rows, columns]."""
    return tf.gather(tf.gather(label, rows.nearest, axis=0), columns.nearest, axis=1)


def _positions(index: tf.Tensor, source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    step = tf.cast(source - 1, tf.float32) / tf.cast(tf.maximum(target - 1, 1), tf.float32)
    return tf.cast(index, tf.float32) * step

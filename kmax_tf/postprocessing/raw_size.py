"""Restores maps of the network input to the size of the raw image."""

from collections.abc import Mapping

import tensorflow as tf


def restore_size(
    maps: Mapping[str, tf.Tensor],
    resized_size: tuple[int, int] | tf.Tensor,
    raw_size: tuple[int, int] | tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Converts maps of the padded network input to the raw image: crops to `resized_size`, then resizes (nearest neighbor).

    Maps are [..., H, W] of any type; sizes are (height, width), ints or an int32 tensor [2]. Corners of both grids coincide,
    as in `resize_nearest_neighbor(align_corners=True)`. Returns maps [..., raw height, raw width].
    """
    rows = _nearest(resized_size[0], raw_size[0])
    columns = _nearest(resized_size[1], raw_size[1])
    return {name: tf.gather(tf.gather(value, rows, axis=-2), columns, axis=-1) for name, value in maps.items()}


def _nearest(source: int | tf.Tensor, target: int | tf.Tensor) -> tf.Tensor:
    step = tf.cast(source - 1, tf.float32) / tf.cast(tf.maximum(target - 1, 1), tf.float32)
    index = tf.cast(tf.floor(tf.cast(tf.range(target), tf.float32) * step + 0.5), tf.int32)
    return tf.minimum(index, source - 1)

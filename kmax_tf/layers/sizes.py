"""Sizes of tensors whose shape may be known only when a graph runs."""

import tensorflow as tf


def sizes(x: tf.Tensor) -> list[int | tf.Tensor]:
    """The size of each axis of x: an int if it is known while tracing, which takes no operations, otherwise an int32 []."""
    static = list(x.shape)
    if None not in static:
        return static
    return [size if known is None else known for known, size in zip(static, tf.unstack(tf.shape(x)))]

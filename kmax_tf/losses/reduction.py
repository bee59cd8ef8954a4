"""Reduces per-pixel and per-slot losses to one number per image."""

import tensorflow as tf


def mean_of_nonzero(losses: tf.Tensor) -> tf.Tensor:
    """[B,n] -> [B], sum divided by the number of nonzero values; 0 if all are zero."""
    count = tf.reduce_sum(tf.cast(losses != 0.0, tf.float32), 1)
    return tf.math.divide_no_nan(tf.reduce_sum(losses, 1), count)


def mean_of_hardest(losses: tf.Tensor, share: float) -> tf.Tensor:
    """mean_of_nonzero over the given fraction of the values [B,n], largest first."""
    if share < 1.0:
        losses = tf.math.top_k(losses, max(1, round(share * losses.shape[1])), sorted=False).values
    return mean_of_nonzero(losses)

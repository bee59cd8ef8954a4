"""How per-pixel and per-slot losses become one number an image."""

import tensorflow as tf


def mean_of_nonzero(losses: tf.Tensor) -> tf.Tensor:
    """[B,n] -> [B], sum divided by the number of values that are not zero; 0 where there are none."""
    count = tf.reduce_sum(tf.cast(losses != 0.0, tf.float32), 1)
    return tf.math.divide_no_nan(tf.reduce_sum(losses, 1), count)


def mean_of_hardest(losses: tf.Tensor, share: float) -> tf.Tensor:
    """mean_of_nonzero over the given share of the values [B,n], largest first."""
    if share < 1.0:
        losses = tf.math.top_k(losses, max(1, round(share * losses.shape[1])), sorted=False).values
    return mean_of_nonzero(losses)

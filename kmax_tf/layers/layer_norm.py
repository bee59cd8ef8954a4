"""Layer normalization over the last axis."""

import tensorflow as tf
import tf_keras

from kmax_tf.layers.one_pass import one_pass, one_pass_loops


class LayerNorm(tf_keras.layers.LayerNormalization):
    """Normalizes over the last axis."""

    def __init__(self):
        super().__init__(epsilon=1e-6)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[...,C] -> the same."""
        if one_pass_loops.get():
            return _layer_norm(x, self.gamma, self.beta, tf.constant(self.epsilon))
        return super().call(x)


@one_pass
def _layer_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    values, gamma, beta = (tf.cast(tensor, tf.float32) for tensor in (x, gamma, beta))
    mean = tf.reduce_mean(values, -1, keepdims=True)
    centered = values - mean
    variance = tf.reduce_mean(tf.square(centered), -1, keepdims=True)
    return tf.cast(centered * (tf.math.rsqrt(variance + epsilon) * gamma) + beta, x.dtype)

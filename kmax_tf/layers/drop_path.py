"""Drop path (stochastic depth) and dropout."""

import tensorflow as tf
import tf_keras

from kmax_tf import randomness
from kmax_tf.layers.sizes import sizes


class DropPath(tf_keras.layers.Layer):
    """Drops whole residual branches per example in training, and scales the remaining ones by 1 / keep_probability."""

    def __init__(self, keep_probability: float):
        super().__init__()
        self.keep_probability = keep_probability

    def call(self, branch: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.keep_probability >= 1.0:
            return branch
        draws = randomness.uniform([sizes(branch)[0], *[1] * (branch.shape.rank - 1)])
        kept = tf.floor(self.keep_probability + draws) / self.keep_probability
        return branch * tf.cast(kept, branch.dtype)


class Dropout(tf_keras.layers.Layer):
    """Sets values to 0 with probability `rate` in training, and scales the others by 1 / (1 - rate)."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return x
        kept = tf.floor(1.0 - self.rate + randomness.uniform(sizes(x))) / (1.0 - self.rate)
        return x * tf.cast(kept, x.dtype)

"""Activations of kMaX-DeepLab."""

from collections.abc import Callable

import tensorflow as tf

from kmax_tf.layers.one_pass import one_pass
from kmax_tf.scoped_value import Scoped

Activation = Callable[[tf.Tensor], tf.Tensor]

# Where true, graphs contain GELU as the TFLite converter knows it, which has no erf; the values are the same.
tflite_operations = Scoped(False)
_SQRT_HALF = 0.7071067811865476
_DENSITY_AT_ZERO = 0.3989422804014327


@one_pass
def gelu(x: tf.Tensor) -> tf.Tensor:
    """The exact Gaussian error linear unit, x * Phi(x).

    Uses erf instead of tf.nn.gelu, because the latter uses erfc, which ONNX does not have. The closed-form gradient needs half
    as many passes over memory as the automatic one. The slope is all that training keeps for it; without gradients, a graph
    leaves it out.
    """
    if tflite_operations.get():
        return 0.5 * x * (1.0 + tf.math.erf(x * _SQRT_HALF))

    @tf.custom_gradient
    def forward(x: tf.Tensor):
        # Scaling by 0.5 is exact. In this form TensorFlow computes a matrix product, its bias and GELU in one pass.
        phi = 0.5 * (1.0 + tf.math.erf(x * _SQRT_HALF))
        slope = phi + x * (_DENSITY_AT_ZERO * tf.exp(-0.5 * tf.square(x)))
        return x * phi, lambda upstream: upstream * slope

    return forward(x)


relu = tf.nn.relu


def activate_shared_sum(activation: Activation, x: tf.Tensor, *, folded: bool) -> tf.Tensor:
    """`activation(x)` for a sum of residuals that others read, too; `folded`: whether norms are folded (inference_graph.py).

    The graph optimizer would fuse such a sum with Relu, notice the other readers, report an error and fuse nothing at all.
    """
    return tf.maximum(x, 0) if folded and activation is relu else activation(x)


def identity(x: tf.Tensor) -> tf.Tensor:
    return x

"""Convolutions with batch norm and activation, padded so that stride s samples pixels 0, s, 2s, ... of sizes 32k+1."""

from collections.abc import Callable

import tensorflow as tf
import tf_keras

from kmax_tf.layers.activations import Activation, gelu, identity
from kmax_tf.layers.dilated_convolution import DilatedConv2D
from kmax_tf.layers.normalization import BatchNorm, NormSpec
from kmax_tf.layers.one_pass import one_pass_loops
from kmax_tf.layers.sizes import sizes


def truncated_normal(stddev: float) -> tf_keras.initializers.Initializer:
    return tf_keras.initializers.TruncatedNormal(stddev=stddev)


def pad_for_stride(x: tf.Tensor, kernel_size: int) -> tf.Tensor:
    """Pads x with zeros so that a strided `valid` convolution is centered on pixels 0, s, 2s, ...."""
    before = (kernel_size - 1) // 2
    after = kernel_size - 1 - before
    return tf.pad(x, [[0, 0], [before, after], [before, after], [0, 0]]) if before or after else x


def every_nth(x: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    """Every `rows`-th row and every `columns`-th column of x [B,H,W,C]; x itself if both are 1, since a slice copies."""
    return x if rows == columns == 1 else x[:, ::rows, ::columns]


def product(x: tf.Tensor, kernel: tf.Tensor, norm: BatchNorm, activation: Activation) -> tf.Tensor:
    """activation(norm(x kernel)), [...,C] and [C,channels] -> [...,channels], as a product of two matrices.

    If the norm is folded, TensorFlow computes product, bias and GELU in one pass.
    """
    return on_rows(x, lambda rows: activation(norm(tf.matmul(rows, tf.cast(kernel, x.dtype)))))


def on_rows(x: tf.Tensor, function: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """A function of a matrix [n,C] -> [n,channels], applied to x [...,C] -> [...,channels].

    Of matrices alone, TensorFlow computes a product with its bias and activation in one pass.
    """
    with one_pass_loops(False):
        y = function(tf.reshape(x, [-1, x.shape[-1]]))
    return tf.reshape(y, [*sizes(x)[:-1], y.shape[-1]])


class ConvNorm(tf_keras.layers.Layer):
    """[B,H,W,C] -> activation(BatchNorm(convolution)) [B,ceil(H/stride),ceil(W/stride),channels], no bias."""

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        norm: NormSpec,
        *,
        stride: int = 1,
        dilation: int = 1,
        activation: Activation = identity,
        gamma: float = 1.0,
    ):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.activation = activation
        self.conv = (DilatedConv2D if dilation > 1 else tf_keras.layers.Conv2D)(
            channels,
            kernel_size,
            stride,
            "same" if stride == 1 else "valid",
            dilation_rate=dilation,
            use_bias=False,
            kernel_initializer="he_normal",
        )
        self.norm = norm.layer(gamma=gamma)

    def fold_norm(self) -> None:
        """Folds the norm into the convolution."""
        self.norm.fold_into(self.conv.kernel)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if self.norm.folded and self.kernel_size == 1 and self.activation is gelu:
            kernel = tf.reshape(self.conv.kernel, self.conv.kernel.shape[2:])
            return product(every_nth(x, self.stride, self.stride), kernel, self.norm, gelu)
        if self.stride > 1:
            x = pad_for_stride(x, self.kernel_size)
        return self.activation(self.norm(self.conv(x), training=training))


class SeparableConvNorm(tf_keras.layers.Layer):
    """A depthwise and a 1x1 convolution, each followed by batch norm and activation."""

    def __init__(self, channels: int, kernel_size: int, norm: NormSpec, *, activation: Activation):
        super().__init__()
        self.activation = activation
        self.depthwise = tf_keras.layers.DepthwiseConv2D(kernel_size, padding="same", use_bias=False)
        self.depthwise_norm = norm.layer()
        self.pointwise = ConvNorm(channels, 1, norm, activation=activation)

    def fold_norm(self) -> None:
        """Folds the norm between the convolutions; the second one folds its own."""
        self.depthwise_norm.fold_into(self.depthwise.depthwise_kernel)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.activation(self.depthwise_norm(self.depthwise(x), training=training))
        return self.pointwise(x, training=training)


class DenseNorm(tf_keras.layers.Layer):
    """[B,L,C] -> activation(BatchNorm(x W)) [B,L,channels], a 1-D convolution with kernel size 1 and no bias."""

    def __init__(
        self,
        channels: int,
        norm: NormSpec,
        *,
        activation: Activation = identity,
        gamma: float = 1.0,
        kernel_initializer: str | tf_keras.initializers.Initializer = "he_normal",
    ):
        super().__init__()
        self.activation = activation
        self.dense = tf_keras.layers.Dense(channels, use_bias=False, kernel_initializer=kernel_initializer)
        self.norm = norm.layer(gamma=gamma)

    def fold_norm(self) -> None:
        """Folds the norm into the product."""
        self.norm.fold_into(self.dense.kernel)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if self.norm.folded:
            return product(x, self.dense.kernel, self.norm, self.activation)
        return self.activation(self.norm(self.dense(x), training=training))

"""The residual block of the encoders and the pixel decoder."""

import tensorflow as tf
import tf_keras

from kmax_tf.layers.activations import Activation, activate_shared_sum
from kmax_tf.layers.axial_attention import AxialAttention
from kmax_tf.layers.convolution import ConvNorm, every_nth
from kmax_tf.layers.drop_path import DropPath
from kmax_tf.layers.normalization import NormSpec


class ResidualBlock(tf_keras.layers.Layer):
    """A bottleneck block with a 3x3 convolution or axial attention, [B,H,W,C] -> [B,H/stride,W/stride,4 * channels].

    Features between blocks are not activated: a block activates its input and returns the sum without activation.
    """

    def __init__(
        self,
        channels: int,
        norm: NormSpec,
        activation: Activation,
        *,
        axial: bool = False,
        stride: int = 1,
        dilation: int = 1,
        keep_probability: float = 1.0,
    ):
        super().__init__()
        self.channels = channels
        self.activation = activation
        self.axial = axial
        self.stride = stride
        self.norm = norm
        self.conv1 = ConvNorm(2 * channels if axial else channels, 1, norm, activation=activation)
        if axial:
            self.attention = AxialAttention(channels, norm, stride=stride)
        else:
            self.conv2 = ConvNorm(channels, 3, norm, stride=stride, dilation=dilation, activation=activation)
        self.conv3 = ConvNorm(4 * channels, 1, norm, gamma=0.0)
        self.drop_path = DropPath(keep_probability)

    def build(self, shape: tf.TensorShape) -> None:
        if shape[-1] != 4 * self.channels:
            self.shortcut = ConvNorm(4 * self.channels, 1, self.norm, stride=self.stride)
        else:
            self.shortcut = None

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if self.shortcut is not None:
            # The input is a result of the encoder.
            x = activate_shared_sum(self.activation, x, folded=self.conv1.norm.folded)
            shortcut = self.shortcut(x, training=training)
        else:
            x = self.activation(x)
            shortcut = every_nth(x, self.stride, self.stride)
        y = self.conv1(x, training=training)
        if self.axial:
            y = self.activation(self.attention(y, training=training))
        else:
            y = self.conv2(y, training=training)
        return shortcut + self.drop_path(self.conv3(y, training=training), training=training)

"""Prediction heads: class and mask logits of the slots."""

import math

import tensorflow as tf
import tf_keras

from kmax_tf.layers.activations import gelu
from kmax_tf.layers.convolution import DenseNorm, SeparableConvNorm, truncated_normal
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.one_pass import one_pass
from kmax_tf.tensor_keys import CLASS_LOGITS, MASK_LOGITS, PIXEL_FEATURES
from protos import model_pb2

# Initial probability of void in the class logits.
VOID_PRIOR = 0.9


class PixelHead(tf_keras.layers.Layer):
    """Separable 5x5 convolution and a 1x1 convolution with bias, [B,h,w,C] -> [B,h,w,output_channels]."""

    def __init__(self, head_channels: int, output_channels: int, norm: NormSpec):
        super().__init__()
        self.conv_block = SeparableConvNorm(head_channels, 5, norm, activation=gelu)
        self.final_conv = tf_keras.layers.Conv2D(output_channels, 1, kernel_initializer=truncated_normal(0.01))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.final_conv(self.conv_block(x, training=training))


class MaskPredictor(tf_keras.layers.Layer):
    """Predicts masks and classes of N slots from a pixel feature and the embeddings of the slots.

    Mask logits are the product of normalized pixel features and mask embeddings (paper, equation 3); the class logits are
    ordered things, stuff, void.
    """

    def __init__(self, head: model_pb2.HeadOptions, num_classes: int, norm: NormSpec):
        super().__init__()
        self.pixel_head = PixelHead(head.head_channels, head.output_channels, norm)
        self.pixel_norm = norm.layer()
        self.mask_head = DenseNorm(head.output_channels, norm)
        self.mask_norm = norm.layer(gamma=0.1)
        self.class_head = tf_keras.layers.Dense(num_classes + 1, kernel_initializer=truncated_normal(0.01))
        self.void_bias = math.log(num_classes * VOID_PRIOR / (1.0 - VOID_PRIOR))

    def fold_norm(self) -> None:
        """Folds the norm of the pixel features, whose head has a bias."""
        final = self.pixel_head.final_conv
        self.pixel_norm.fold_into(final.kernel, final.bias)
        final.bias.assign(tf.zeros_like(final.bias))

    def call(
        self, pixels: tf.Tensor, class_embedding: tf.Tensor, mask_embedding: tf.Tensor, training: bool = False
    ) -> dict[str, tf.Tensor]:
        """[B,h,w,C], [B,N,E] and [B,N,E] -> features [B,h,w,D], mask logits [B,h,w,N], class logits [B,N,C+1]; float32."""
        features = self.pixel_norm(self.pixel_head(pixels, training=training), training=training)
        features = _unit_length(features)
        kernels = self.mask_head(mask_embedding, training=training)
        masks = tf.einsum("bhwd,bnd->bhwn", tf.cast(features, kernels.dtype), kernels)
        # The added axis of size 1 is the channel axis, so there is one mean and variance for the whole tensor.
        masks = self.mask_norm(tf.cast(masks, tf.float32)[..., None], training=training)[..., 0]
        classes = tf.cast(self.class_head(class_embedding), tf.float32)
        void = tf.one_hot(classes.shape[-1] - 1, classes.shape[-1]) * self.void_bias
        return {
            PIXEL_FEATURES: features,
            MASK_LOGITS: masks,
            CLASS_LOGITS: classes + void,
        }


@one_pass
def _unit_length(features: tf.Tensor) -> tf.Tensor:
    return tf.math.l2_normalize(tf.cast(features, tf.float32), -1)

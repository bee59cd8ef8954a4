"""The auxiliary semantic branch, used in training and in evaluation with labels, and skipped in predictions."""

import tensorflow as tf
import tf_keras

from kmax_tf.heads import PixelHead
from kmax_tf.layers.activations import Activation, activate_shared_sum, gelu
from kmax_tf.layers.convolution import ConvNorm, SeparableConvNorm
from kmax_tf.layers.drop_path import Dropout
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.resize import resize_like
from protos import model_pb2


class AtrousPyramid(tf_keras.layers.Layer):
    """Atrous spatial pyramid pooling (arXiv:1706.05587), [B,h,w,C] -> [B,h,w,channels]."""

    def __init__(self, channels: int, rates: list[int], norm: NormSpec):
        super().__init__()
        self.branches = [ConvNorm(channels, 1, norm, activation=gelu)]
        self.branches += [ConvNorm(channels, 3, norm, dilation=rate, activation=gelu) for rate in rates]
        self.pool = ConvNorm(channels, 1, norm, activation=gelu)
        self.project = ConvNorm(channels, 1, norm, activation=gelu)
        self.dropout = Dropout(0.1)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        parts = [branch(x, training=training) for branch in self.branches]
        pooled = self.pool(tf.reduce_mean(x, [1, 2], keepdims=True), training=training)
        parts.append(resize_like(pooled, x))
        return self.dropout(self.project(tf.concat(parts, -1), training=training), training=training)


class SemanticDecoder(tf_keras.layers.Layer):
    """Applies the pyramid to stage5, then fuses it with finer, activated encoder features, as in DeepLabv3+."""

    def __init__(self, options: model_pb2.ModelOptions, activation: Activation, norm: NormSpec):
        super().__init__()
        self.activation = activation
        low_level = options.max_deeplab.auxiliary_low_level
        self.endpoints = [level.feature_key.replace("res", "stage") for level in low_level]
        self.pyramid = AtrousPyramid(options.decoder.aspp_channels, list(options.decoder.atrous_rates), norm)
        self.projections = [ConvNorm(level.channels_project, 1, norm, activation=gelu) for level in low_level]
        self.fusions = [SeparableConvNorm(options.decoder.decoder_channels, 5, norm, activation=gelu) for _ in low_level]

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        x = self.pyramid(features["stage5"], training=training)
        for endpoint, projection, fusion in zip(self.endpoints, self.projections, self.fusions):
            active = activate_shared_sum(self.activation, features[endpoint], folded=projection.norm.folded)
            fine = projection(active, training=training)
            x = fusion(tf.concat([resize_like(x, fine), fine], -1), training=training)
        return x


class SemanticBranch(tf_keras.layers.Layer):
    """Encoder features -> semantic logits [B,h,w,ids], channel = class id, at the stride of the last fused feature, or 32."""

    def __init__(self, options: model_pb2.ModelOptions, activation: Activation, norm: NormSpec):
        super().__init__()
        use_decoder = options.decoder.use_semantic_decoder
        self.decoder = SemanticDecoder(options, activation, norm) if use_decoder else None
        head = options.max_deeplab.auxiliary_semantic_head
        self.head = PixelHead(head.head_channels, head.output_channels, norm)

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        x = features["stage5"] if self.decoder is None else self.decoder(features, training=training)
        return tf.cast(self.head(x, training=training), tf.float32)

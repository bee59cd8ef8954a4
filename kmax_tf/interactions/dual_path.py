"""Dual-path interactions: the pixels are updated too, by attention to the cluster centers (paper, table 4)."""

import tensorflow as tf
import tf_keras

from kmax_tf.interactions.attention import Attention
from kmax_tf.interactions.cross_attention import CrossAttentionLayer
from kmax_tf.interactions.decoder_layer import DecoderLayer, Prediction, Updates
from kmax_tf.interactions.kmeans import KMeansLayer
from kmax_tf.layers.convolution import DenseNorm, truncated_normal
from kmax_tf.layers.drop_path import DropPath
from kmax_tf.layers.normalization import NormSpec
from protos import model_pb2


class PixelAttention(tf_keras.layers.Layer):
    """Pixels attend to the centers, whose keys and values are those of the other path."""

    def __init__(self, options: model_pb2.MaXDeepLabOptions, pixel_channels: int, norm: NormSpec):
        super().__init__()
        channels = options.decoder_channels
        self.key_depth = channels // 2
        self.query = DenseNorm(self.key_depth, norm, kernel_initializer=truncated_normal(channels**-0.5))
        self.attention = Attention(norm)
        self.output_projection = DenseNorm(pixel_channels, norm, gamma=0.0)
        self.drop = DropPath(options.transformer_decoder_drop_path_keep_prob)

    def call(self, pixel_space: tf.Tensor, query_key_value: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Projected pixels [B,hw,E], and queries, keys and values of the centers [B,N,2E] -> update of the pixels [B,hw,C]."""
        _, key, value = tf.split(query_key_value, [self.key_depth, self.key_depth, 2 * self.key_depth], -1)
        retrieved = self.attention(self.query(pixel_space, training=training), key, value, training=training)
        return self.drop(self.output_projection(retrieved, training=training), training=training)


class _DualPath(DecoderLayer):
    """Adds PixelAttention to a layer with `query_key_value` and `update_from`."""

    def __init__(self, options: model_pb2.MaXDeepLabOptions, num_classes: int, norm: NormSpec):
        super().__init__(options, num_classes, norm)
        self.options = options
        self.norm = norm

    def build(self, pixels: tf.TensorShape) -> None:
        self.pixel_attention = PixelAttention(self.options, pixels[-1], self.norm)

    def updates(
        self, pixel_space: tf.Tensor, center_space: tf.Tensor, prediction: Prediction | None, training: bool
    ) -> Updates:
        query_key_value = self.query_key_value(center_space, training=training)
        center_update = self.update_from(pixel_space, query_key_value, prediction, training)
        return center_update, self.pixel_attention(pixel_space, query_key_value, training=training)


class DualPathCrossAttentionLayer(_DualPath, CrossAttentionLayer):
    """Cross-attention in both directions, as in MaX-DeepLab."""


class DualPathKMeansLayer(_DualPath, KMeansLayer):
    """k-means cross-attention for the centers, attention for the pixels."""


INTERACTIONS = {
    "DUAL_PATH_CROSS_ATTENTION": DualPathCrossAttentionLayer,
    "DUAL_PATH_KMEANS": DualPathKMeansLayer,
}

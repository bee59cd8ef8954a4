"""Cross-attention of MaX-DeepLab (arXiv:2012.00759), which kMaX-DeepLab is compared with (paper, equation 1 and table 4)."""

import tensorflow as tf

from kmax_tf.interactions.attention import Attention
from kmax_tf.interactions.decoder_layer import DecoderLayer, Prediction
from kmax_tf.layers.convolution import DenseNorm, truncated_normal
from kmax_tf.layers.drop_path import DropPath
from kmax_tf.layers.normalization import NormSpec
from protos import model_pb2


class CrossAttentionLayer(DecoderLayer):
    """Each center attends to all pixels and centers by one softmax over both, so there is no self-attention beside it.

    The layers predict masks only for deep supervision.
    """

    def __init__(self, options: model_pb2.MaXDeepLabOptions, num_classes: int, norm: NormSpec):
        super().__init__()
        channels = options.decoder_channels
        self.key_depth = channels // 2
        self.create_projections(options, norm)
        self.query_key_value = DenseNorm(2 * channels, norm, kernel_initializer=truncated_normal(channels**-0.5))
        self.pixel_key_value = DenseNorm(channels + self.key_depth, norm, kernel_initializer=truncated_normal(channels**-0.5))
        if options.deep_supervision:
            self.create_predictor(options, num_classes, norm)
        self.attention = Attention(norm)
        self.attention_output = DenseNorm(channels, norm, gamma=0.0)
        self.create_feed_forward(options, norm)
        self.drop_attention = DropPath(options.transformer_decoder_drop_path_keep_prob)

    def center_update(
        self, pixel_space: tf.Tensor, center_space: tf.Tensor, prediction: Prediction | None, training: bool
    ) -> tf.Tensor:
        return self.update_from(pixel_space, self.query_key_value(center_space, training=training), prediction, training)

    def update_from(
        self, pixel_space: tf.Tensor, query_key_value: tf.Tensor, prediction: Prediction | None, training: bool
    ) -> tf.Tensor:
        """center_update with the queries, keys and values of the centers, side by side in [B,N,2E]."""
        query, *center_key_value = tf.split(query_key_value, [self.key_depth, self.key_depth, 2 * self.key_depth], -1)
        pixel_key_value = tf.split(
            self.pixel_key_value(pixel_space, training=training), [self.key_depth, 2 * self.key_depth], -1
        )
        key, value = (tf.concat(both, 1) for both in zip(pixel_key_value, center_key_value))
        attended = self.attention_output(self.attention(query, key, value, training=training), training=training)
        return self.drop_attention(attended, training=training)


INTERACTIONS = {"CROSS_ATTENTION": CrossAttentionLayer}

"""k-means cross-attention, the interaction of kMaX-DeepLab (paper, equations 5 to 7)."""

import tensorflow as tf

from kmax_tf.interactions.attention import Attention
from kmax_tf.interactions.decoder_layer import DecoderLayer, Prediction
from kmax_tf.layers.convolution import DenseNorm, truncated_normal
from kmax_tf.layers.drop_path import DropPath
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.sizes import sizes
from kmax_tf.tensor_keys import MASK_LOGITS
from protos import model_pb2


class KMeansLayer(DecoderLayer):
    """Each pixel updates the center that it is assigned to; in addition, centers attend to each other."""

    def __init__(self, options: model_pb2.MaXDeepLabOptions, num_classes: int, norm: NormSpec):
        super().__init__()
        channels = options.decoder_channels
        keep = options.transformer_decoder_drop_path_keep_prob
        self.key_depth = channels // 2
        self.create_projections(options, norm)
        self.query_key_value = DenseNorm(2 * channels, norm, kernel_initializer=truncated_normal(channels**-0.5))
        self.pixel_value = DenseNorm(channels, norm, kernel_initializer=truncated_normal(channels**-0.5))
        self.create_predictor(options, num_classes, norm)
        self.update_norm = norm.layer()
        self.update_output = DenseNorm(channels, norm, gamma=0.0)
        self.attention = Attention(norm)
        self.attention_output = DenseNorm(channels, norm, gamma=0.0)
        self.create_feed_forward(options, norm)
        self.drop_update, self.drop_attention = DropPath(keep), DropPath(keep)

    def center_update(
        self, pixel_space: tf.Tensor, center_space: tf.Tensor, prediction: Prediction, training: bool
    ) -> tf.Tensor:
        return self.update_from(pixel_space, self.query_key_value(center_space, training=training), prediction, training)

    def update_from(
        self, pixel_space: tf.Tensor, query_key_value: tf.Tensor, prediction: Prediction, training: bool
    ) -> tf.Tensor:
        """center_update with the queries, keys and values of the centers, side by side in [B,N,2E]."""
        values = self.pixel_value(pixel_space, training=training)
        update = self.update_norm(kmeans_update(prediction[MASK_LOGITS], values), training=training)
        update = self.update_output(update, training=training)
        query, key, value = tf.split(query_key_value, [self.key_depth, self.key_depth, 2 * self.key_depth], -1)
        attended = self.attention_output(self.attention(query, key, value, training=training), training=training)
        return self.drop_update(update, training=training) + self.drop_attention(attended, training=training)


def kmeans_update(mask_logits: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The k-means step (paper, equation 7): adds the value of each pixel to the slot with its largest mask logit.

    The sum is not divided by the number of pixels, because a batch norm follows. No gradient flows through the assignment.

    Args:
      mask_logits: [B,h,w,N].
      values: [B,h*w,E].

    Returns:
      [B,N,E], the sum of the values of each slot's pixels; ties go to the first slot.
    """
    slots = mask_logits.shape[-1]
    nearest = tf.argmax(mask_logits, -1, output_type=tf.int32)
    assignment = tf.one_hot(tf.reshape(nearest, sizes(values)[:2]), slots, dtype=values.dtype)
    return tf.einsum("bpn,bpe->bne", tf.stop_gradient(assignment), values)


INTERACTIONS = {"KMEANS": KMeansLayer}

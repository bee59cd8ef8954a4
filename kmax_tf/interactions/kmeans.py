"""k-means cross-attention, the interaction of kMaX-DeepLab (paper, equations 5 to 7)."""

import tensorflow as tf
import tf_keras

from kmax_tf.interactions.decoder_layer import DecoderLayer, Prediction
from kmax_tf.layers.activations import gelu
from kmax_tf.layers.convolution import DenseNorm, truncated_normal
from kmax_tf.layers.drop_path import DropPath
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.tensor_keys import MASK_LOGITS
from protos import model_pb2

HEADS = 8


class CenterAttention(tf_keras.layers.Layer):
    """Self-attention between cluster centers; a batch norm per head replaces the scale 1/sqrt(d)."""

    def __init__(self, norm: NormSpec):
        super().__init__()
        self.similarity_norm = norm.layer(axis=1)
        self.output_norm = norm.layer(axis=(1, 3))

    def call(self, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, training: bool = False) -> tf.Tensor:
        """query, key [B,N,K], value [B,N,V] -> [B,N,V]."""
        slots = value.shape[1]
        query, key, value = (tf.reshape(x, [-1, slots, HEADS, x.shape[-1] // HEADS]) for x in (query, key, value))
        similarity = self.similarity_norm(tf.einsum("bngd,bmgd->bgnm", query, key), training=training)
        weights = tf.cast(tf.nn.softmax(tf.cast(similarity, tf.float32)), value.dtype)
        retrieved = self.output_norm(tf.einsum("bgnm,bmgd->bgnd", weights, value), training=training)
        return tf.reshape(tf.transpose(gelu(retrieved), [0, 2, 1, 3]), [-1, slots, HEADS * value.shape[-1]])


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
        self.attention = CenterAttention(norm)
        self.attention_output = DenseNorm(channels, norm, gamma=0.0)
        self.create_feed_forward(options, norm)
        self.drop_update, self.drop_attention = DropPath(keep), DropPath(keep)

    def center_update(
        self, pixel_space: tf.Tensor, center_space: tf.Tensor, prediction: Prediction, training: bool
    ) -> tf.Tensor:
        values = self.pixel_value(pixel_space, training=training)
        update = self.update_norm(kmeans_update(prediction[MASK_LOGITS], values), training=training)
        update = self.update_output(update, training=training)
        qkv = self.query_key_value(center_space, training=training)
        query, key, value = tf.split(qkv, [self.key_depth, self.key_depth, 2 * self.key_depth], -1)
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
    assignment = tf.one_hot(tf.reshape(nearest, tf.shape(values)[:2]), slots, dtype=values.dtype)
    return tf.einsum("bpn,bpe->bne", tf.stop_gradient(assignment), values)


INTERACTIONS = {"KMEANS": KMeansLayer}

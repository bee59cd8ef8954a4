"""The kMaX decoder: cluster centres updated by k-means cross-attention, self-attention and a feed-forward network."""

import tensorflow as tf
import tf_keras

from kmax_tf import randomness
from kmax_tf.heads import MaskPredictor
from kmax_tf.layers.activations import gelu
from kmax_tf.layers.convolution import DenseNorm, truncated_normal
from kmax_tf.layers.dropping import DropPath
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.tensor_keys import MASK_LOGITS
from protos import model_pb2

HEADS = 8


class CenterAttention(tf_keras.layers.Layer):
    """Self-attention between cluster centres; a batch norm per head stands in for the scale 1/sqrt(d)."""

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


class KMaXDecoderLayer(tf_keras.layers.Layer):
    """One update of the cluster centres from one pixel feature (paper, equations 5 to 7 and figure 3)."""

    def __init__(self, options: model_pb2.MaXDeepLabOptions, num_classes: int, norm: NormSpec):
        super().__init__()
        channels = options.decoder_channels
        keep = options.transformer_decoder_drop_path_keep_prob
        self.key_depth = channels // 2
        self.project_pixels = DenseNorm(channels, norm, activation=gelu)
        self.project_centers = DenseNorm(channels, norm, activation=gelu)
        self.query_key_value = DenseNorm(2 * channels, norm, kernel_initializer=truncated_normal(channels**-0.5))
        self.pixel_value = DenseNorm(channels, norm, kernel_initializer=truncated_normal(channels**-0.5))
        self.predictor = MaskPredictor(options.pixel_space_head, num_classes, norm)
        self.update_norm = norm.layer()
        self.update_output = DenseNorm(channels, norm, gamma=0.0)
        self.attention = CenterAttention(norm)
        self.attention_output = DenseNorm(channels, norm, gamma=0.0)
        self.ffn_hidden = DenseNorm(options.ffn_channels, norm, activation=gelu)
        self.ffn_output = DenseNorm(channels, norm, gamma=0.0)
        self.drop_update, self.drop_attention, self.drop_ffn = DropPath(keep), DropPath(keep), DropPath(keep)

    def call(self, pixels: tf.Tensor, centers: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Un-activated pixels [B,h,w,C] and centres [B,N,E] -> new centres [B,N,E] and the prediction that clustered them."""
        shape = tf.shape(pixels)
        flat = tf.reshape(pixels, [shape[0], shape[1] * shape[2], pixels.shape[-1]])
        pixel_space = self.project_pixels(gelu(flat), training=training)  # [B,hw,E]
        center_space = self.project_centers(centers, training=training)
        prediction = self._predict(pixel_space, center_space, shape, pixels.shape, training)

        values = self.pixel_value(pixel_space, training=training)
        update = self.update_norm(kmeans_update(prediction[MASK_LOGITS], values), training=training)
        update = self.update_output(update, training=training)
        attended = self._self_attention(center_space, training)
        centers += self.drop_update(update, training=training) + self.drop_attention(attended, training=training)
        centers = gelu(centers)
        hidden = self.ffn_hidden(centers, training=training)
        centers += self.drop_ffn(self.ffn_output(hidden, training=training), training=training)
        return gelu(centers), prediction

    def _predict(
        self, pixel_space: tf.Tensor, center_space: tf.Tensor, shape: tf.Tensor, static: tf.TensorShape, training: bool
    ) -> dict[str, tf.Tensor]:
        image = tf.reshape(pixel_space, [shape[0], shape[1], shape[2], pixel_space.shape[-1]])
        image = tf.ensure_shape(image, static[:3] + [pixel_space.shape[-1]])
        return self.predictor(image, center_space, center_space, training=training)

    def _self_attention(self, center_space: tf.Tensor, training: bool) -> tf.Tensor:
        qkv = self.query_key_value(center_space, training=training)
        query, key, value = tf.split(qkv, [self.key_depth, self.key_depth, 2 * self.key_depth], -1)
        return self.attention_output(self.attention(query, key, value, training=training), training=training)


def kmeans_update(mask_logits: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The k-means step (paper, equation 7): each pixel gives its value to the one slot with its largest mask logit.

    The sum over pixels is not divided by their number: a batch norm follows. No gradient flows through the assignment.

    Args:
      mask_logits: [B,h,w,N].
      values: [B,h*w,E].

    Returns:
      [B,N,E], the sum of the values of each slot's pixels; on ties the first slot takes the pixel.
    """
    slots = mask_logits.shape[-1]
    nearest = tf.argmax(mask_logits, -1, output_type=tf.int32)
    assignment = tf.one_hot(tf.reshape(nearest, tf.shape(values)[:2]), slots, dtype=values.dtype)
    return tf.einsum("bpn,bpe->bne", tf.stop_gradient(assignment), values)


class KMaXDecoder(tf_keras.layers.Layer):
    """The cluster centres and their updates at stride 32, 16 and 8."""

    def __init__(self, options: model_pb2.MaXDeepLabOptions, num_classes: int, norm: NormSpec):
        super().__init__()
        self.slots = options.num_mask_slots
        self.kept_in_training = options.num_mask_slots - options.num_dropped_mask_slots
        self.channels = options.decoder_channels
        self.stages = [[KMaXDecoderLayer(options, num_classes, norm) for _ in range(layers)] for layers in options.num_decoders]
        self.class_embedding = DenseNorm(self.channels, norm, activation=gelu)
        self.mask_embedding = DenseNorm(self.channels, norm, activation=gelu)

    def build(self, _) -> None:
        self.cluster_centers = self.add_weight(
            "cluster_centers", [1, self.slots, self.channels], initializer=truncated_normal(1.0)
        )

    def call(
        self, pixel_features: list[tf.Tensor], training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, list[dict[str, tf.Tensor]]]:
        """Features at stride 32, 16, 8, ... -> class embedding [B,N,E], mask embedding [B,N,E], predictions of the layers.

        N is smaller in training where slots are dropped.
        """
        centers = tf.tile(self._initial_centers(training), [tf.shape(pixel_features[0])[0], 1, 1])
        predictions = []
        for pixels, layers in zip(pixel_features, self.stages):
            for layer in layers:
                centers, prediction = layer(pixels, centers, training=training)
                predictions.append(prediction)
        return self.class_embedding(centers, training=training), self.mask_embedding(centers, training=training), predictions

    def _initial_centers(self, training: bool) -> tf.Tensor:
        """[1,N,E], in training without the slots that drop query leaves out of this step (paper, implementation details)."""
        if not training or self.kept_in_training == self.slots:
            return self.cluster_centers
        order = tf.argsort(randomness.uniform((self.slots,)))
        return tf.gather(self.cluster_centers, tf.sort(order[: self.kept_in_training]), axis=1)

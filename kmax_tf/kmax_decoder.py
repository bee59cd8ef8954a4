"""The kMaX decoder: cluster centers updated at stride 32, 16 and 8 by layers of one interaction."""

import tensorflow as tf
import tf_keras

from kmax_tf import randomness
from kmax_tf.layers.activations import gelu
from kmax_tf.layers.convolution import DenseNorm, truncated_normal
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.sizes import sizes
from kmax_tf.registry import registered
from protos import model_pb2


class KMaXDecoder(tf_keras.layers.Layer):
    """The cluster centers and their updates at stride 32, 16 and 8."""

    def __init__(self, options: model_pb2.MaXDeepLabOptions, num_classes: int, norm: NormSpec):
        super().__init__()
        self.slots = options.num_mask_slots
        self.kept_in_training = options.num_mask_slots - options.num_dropped_mask_slots
        self.channels = options.decoder_channels
        name = model_pb2.MaXDeepLabOptions.Interaction.Name(options.interaction)
        layer = registered("kmax_tf.interactions", "INTERACTIONS")[name]
        self.stages = [[layer(options, num_classes, norm) for _ in range(layers)] for layers in options.num_decoders]
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

        N is smaller in training if slots are dropped. Layers that do not predict are left out.
        """
        centers = tf.tile(self._initial_centers(training), [sizes(pixel_features[0])[0], 1, 1])
        predictions = []
        for pixels, layers in zip(pixel_features, self.stages):
            for layer in layers:
                pixels, centers, prediction = layer(pixels, centers, training=training)
                if prediction is not None:
                    predictions.append(prediction)
        return self.class_embedding(centers, training=training), self.mask_embedding(centers, training=training), predictions

    def _initial_centers(self, training: bool) -> tf.Tensor:
        """[1,N,E], in training without the slots that drop query removes in this step (paper, implementation details)."""
        if not training or self.kept_in_training == self.slots:
            return self.cluster_centers
        order = tf.argsort(randomness.uniform((self.slots,)))
        return tf.gather(self.cluster_centers, tf.sort(order[: self.kept_in_training]), axis=1)

"""The part that the decoder layers of all interactions share: projections, prediction and feed-forward network."""

import tensorflow as tf
import tf_keras

from kmax_tf.heads import MaskPredictor
from kmax_tf.layers.activations import gelu
from kmax_tf.layers.convolution import DenseNorm
from kmax_tf.layers.drop_path import DropPath
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.sizes import sizes
from protos import model_pb2

Prediction = dict[str, tf.Tensor]
Updates = tuple[tf.Tensor, tf.Tensor | None]


class DecoderLayer(tf_keras.layers.Layer):
    """One update of the cluster centers from one pixel feature (paper, figure 3).

    Modules of this package register subclasses in `INTERACTIONS`, a dict by their name in `max_deeplab.interaction`. The
    `__init__(options, num_classes, norm)` of a subclass calls `create_projections`, `create_feed_forward` and, if its layers
    predict masks, `create_predictor`, and creates its own layers; the order must not change, because optimizer checkpoints
    number variables by it. Subclasses implement `center_update`, or `updates` if pixels are updated too.
    """

    def __init__(self) -> None:
        super().__init__()
        # Not a class attribute, which Keras would not track.
        self.predictor: MaskPredictor | None = None

    def create_projections(self, options: model_pb2.MaXDeepLabOptions, norm: NormSpec) -> None:
        """Creates the layers that project pixels and centers to E channels."""
        self.project_pixels = DenseNorm(options.decoder_channels, norm, activation=gelu)
        self.project_centers = DenseNorm(options.decoder_channels, norm, activation=gelu)

    def create_predictor(self, options: model_pb2.MaXDeepLabOptions, num_classes: int, norm: NormSpec) -> None:
        """Creates the prediction heads, which deep supervision and k-means use."""
        self.predictor = MaskPredictor(options.pixel_space_head, num_classes, norm)

    def create_feed_forward(self, options: model_pb2.MaXDeepLabOptions, norm: NormSpec) -> None:
        """Creates the feed-forward network of the centers."""
        self.ffn_hidden = DenseNorm(options.ffn_channels, norm, activation=gelu)
        self.ffn_output = DenseNorm(options.decoder_channels, norm, gamma=0.0)
        self.drop_ffn = DropPath(options.transformer_decoder_drop_path_keep_prob)

    def center_update(
        self, pixel_space: tf.Tensor, center_space: tf.Tensor, prediction: Prediction | None, training: bool
    ) -> tf.Tensor:
        """Projected pixels [B,hw,E], projected centers [B,N,E] and their prediction -> update to add to the centers [B,N,E]."""
        raise NotImplementedError

    def updates(
        self, pixel_space: tf.Tensor, center_space: tf.Tensor, prediction: Prediction | None, training: bool
    ) -> Updates:
        """The same arguments -> updates to add to the centers [B,N,E] and to the pixels, [B,hw,C] or None."""
        return self.center_update(pixel_space, center_space, prediction, training), None

    def call(
        self, pixels: tf.Tensor, centers: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, Prediction | None]:
        """One layer.

        Args:
          pixels: features before activation, [B,h,w,C].
          centers: [B,N,E].
          training: use batch statistics and drop path.

        Returns:
          Pixels before activation [B,h,w,C], the same ones unless the interaction updates them; new centers [B,N,E]; and the
          prediction from the old centers, None if layers of the interaction do not predict.
        """
        shape = sizes(pixels)
        flat = tf.reshape(pixels, [shape[0], shape[1] * shape[2], shape[3]])
        pixel_space = self.project_pixels(gelu(flat), training=training)  # [B,hw,E]
        center_space = self.project_centers(centers, training=training)
        prediction = self._predict(pixel_space, center_space, shape, training) if self.predictor else None
        center_update, pixel_update = self.updates(pixel_space, center_space, prediction, training)
        centers = gelu(centers + center_update)
        hidden = self.ffn_hidden(centers, training=training)
        centers += self.drop_ffn(self.ffn_output(hidden, training=training), training=training)
        if pixel_update is not None:
            pixels += tf.reshape(pixel_update, shape)
        return pixels, gelu(centers), prediction

    def _predict(
        self, pixel_space: tf.Tensor, center_space: tf.Tensor, shape: list[int | tf.Tensor], training: bool
    ) -> Prediction:
        image = tf.reshape(pixel_space, [*shape[:3], pixel_space.shape[-1]])
        return self.predictor(image, center_space, center_space, training=training)

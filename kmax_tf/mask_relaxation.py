"""The semantic branches of ReMask (ReMaX, arXiv:2306.17319), used in training and in evaluation with labels."""

import tensorflow as tf
import tf_keras

from kmax_tf.layers.activations import gelu
from kmax_tf.layers.convolution import truncated_normal
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.resize import resize_like
from kmax_tf.semantic_branch import AtrousPyramid
from kmax_tf.tensor_keys import MASK_LOGITS, RELAXATION_LOGITS
from protos import model_pb2


class MaskRelaxation(tf_keras.layers.Layer):
    """Adds the semantic logits with which the losses relax masks to the predictions of the first kMaX decoder layers."""

    def __init__(self, options: model_pb2.ModelOptions, num_classes: int, norm: NormSpec):
        super().__init__()
        head, pyramid = options.max_deeplab, options.decoder
        strides = [stride for stride, layers in enumerate(head.num_decoders) for _ in range(layers)]
        self.strides = strides[: head.relaxation.num_relaxed_decoders]
        self.pyramids = [AtrousPyramid(pyramid.aspp_channels, list(pyramid.atrous_rates), norm) for _ in self.strides]
        self.classifiers = [
            tf_keras.layers.Conv2D(num_classes, 1, kernel_initializer=truncated_normal(0.01)) for _ in self.strides
        ]

    def call(
        self, pixel_features: list[tf.Tensor], predictions: list[dict[str, tf.Tensor]], training: bool = False
    ) -> list[dict[str, tf.Tensor]]:
        """Features of the pixel decoder, coarsest first; the logits have the resolution of the mask logits of their layer."""
        relaxed = list(predictions)
        for layer, (stride, pyramid, classifier) in enumerate(zip(self.strides, self.pyramids, self.classifiers)):
            logits = tf.cast(classifier(pyramid(gelu(pixel_features[stride]), training=training)), tf.float32)
            relaxed[layer] = predictions[layer] | {RELAXATION_LOGITS: resize_like(logits, predictions[layer][MASK_LOGITS])}
        return relaxed

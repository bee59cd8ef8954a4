"""The enhanced pixel decoder (paper, section 4.1): axial blocks at stride 32 and 16, bottlenecks at 8, 4 (and stage1)."""

import tensorflow as tf
import tf_keras

from kmax_tf.layers.activations import gelu
from kmax_tf.layers.convolution import ConvNorm
from kmax_tf.layers.layer_norm import LayerNorm
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.residual import ResidualBlock
from kmax_tf.layers.resize import resize_like
from protos import model_pb2

AXIAL_STAGES = 2


class Fuse(tf_keras.layers.Layer):
    """Sum of the decoder's feature and the encoder's, both projected to `channels`, at the encoder feature's size."""

    def __init__(self, channels: int, norm: NormSpec):
        super().__init__()
        self.from_decoder = ConvNorm(channels, 1, norm)
        self.from_encoder = ConvNorm(channels, 1, norm)

    def call(self, decoder: tf.Tensor, encoder: tf.Tensor, training: bool = False) -> tf.Tensor:
        upsampled = resize_like(self.from_decoder(gelu(decoder), training=training), encoder)
        return upsampled + self.from_encoder(gelu(encoder), training=training)


class PixelDecoder(tf_keras.layers.Layer):
    """{"stage5": [B,h,w,C], "stage4": ...} -> one feature per stage, coarsest first, 4 * options.channels[i] channels each.

    Input and output features are not activated. Strides are 32, 16, 8, 4 and, with five stages, that of the encoder's stage1.
    """

    def __init__(self, options: model_pb2.PixelDecoderOptions, norm: NormSpec):
        super().__init__()
        self.endpoints = [f"stage{5 - i}" for i in range(len(options.channels))]
        self.input_norms = [LayerNorm() for _ in self.endpoints]
        self.stages = [
            [
                ResidualBlock(channels, norm, gelu, axial=i < AXIAL_STAGES, dilation=options.bottleneck_dilation)
                for _ in range(blocks)
            ]
            for i, (channels, blocks) in enumerate(zip(options.channels, options.num_blocks))
        ]
        self.fuses = [Fuse(channels, norm) for channels in options.channels[1:]]

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> list[tf.Tensor]:
        outputs = []
        for i, (endpoint, input_norm, blocks) in enumerate(zip(self.endpoints, self.input_norms, self.stages)):
            x = input_norm(features[endpoint])
            if outputs:
                x = self.fuses[i - 1](outputs[-1], x, training=training)
            for block in blocks:
                x = block(x, training=training)
            outputs.append(x)
        return outputs

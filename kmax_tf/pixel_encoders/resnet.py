"""ResNet-50 as a pixel encoder, with stride 2 in stage 2 instead of max pooling; features between blocks are not activated."""

import tensorflow as tf
import tf_keras

from kmax_tf.layers.activations import Activation, relu
from kmax_tf.layers.convolution import ConvNorm
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.recompute import run_block
from kmax_tf.layers.residual import ResidualBlock

BLOCKS = (3, 4, 6, 3)
CHANNELS = (64, 128, 256, 512)


class ResNet(tf_keras.layers.Layer):
    """[B,H,W,3] -> {"stage1": [B,H/2,W/2,C], "stage2": stride 4, 256, ... "stage5": stride 32, 2048}, not activated.

    stage1 is the output of the stem, one layer or several, whose C depends on the variant.
    """

    def __init__(self, activation: Activation, stem: ConvNorm | list[ConvNorm], stages: list[list[ResidualBlock]]):
        super().__init__()
        self.activation = activation
        self.stem = stem
        self.stages = stages

    def call(self, x: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        for layer in tf.nest.flatten(self.stem):
            x = layer(x, training=training)
        features = {"stage1": x}
        for number, blocks in enumerate(self.stages, 2):
            for block in blocks:
                x = run_block(block, x, training)
            features[f"stage{number}"] = x
        return features


def resnet50(norm: NormSpec) -> ResNet:
    """ResNet-50; 64 channels in stage1."""
    stages = [
        [ResidualBlock(channels, norm, relu, stride=2 if block == 0 else 1) for block in range(blocks)]
        for blocks, channels in zip(BLOCKS, CHANNELS)
    ]
    return ResNet(relu, ConvNorm(64, 7, norm, stride=2), stages)


ENCODERS = {"kmax_resnet50": lambda options, norm: resnet50(norm)}

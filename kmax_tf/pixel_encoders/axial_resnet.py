"""Axial-ResNet-50, the encoder of MaX-S: axial attention replaces 3x3 convolutions in blocks with input stride >= 16."""

import tensorflow as tf
import tf_keras

from kmax_tf.layers.activations import Activation, gelu
from kmax_tf.layers.convolution import ConvNorm
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.recompute import run_block
from kmax_tf.layers.residual import ResidualBlock
from kmax_tf.pixel_encoders.resnet import BLOCKS, CHANNELS


class AxialResNet(tf_keras.layers.Layer):
    """[B,H,W,3] -> {"stage1": [B,H/2,W/2,128], "stage2": stride 4, 256, ... "stage5": stride 32, 2048}, not activated."""

    def __init__(self, norm: NormSpec, drop_path_keep_probability: float):
        super().__init__()
        self.activation: Activation = gelu
        self.stem = [
            ConvNorm(64, 3, norm, stride=2, activation=gelu),
            ConvNorm(64, 3, norm, activation=gelu),
            ConvNorm(128, 3, norm),
        ]
        self.stages = []
        for stage, (blocks, channels) in enumerate(zip(BLOCKS, CHANNELS), 1):
            input_strides = [2**stage] + [2 ** (stage + 1)] * (blocks - 1)
            self.stages.append(
                [
                    ResidualBlock(
                        channels,
                        norm,
                        gelu,
                        axial=stride >= 16,
                        stride=2 if block == 0 else 1,
                        keep_probability=_keep_probability(drop_path_keep_probability, stride),
                    )
                    for block, stride in enumerate(input_strides)
                ]
            )

    def call(self, x: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        for layer in self.stem:
            x = layer(x, training=training)
        features = {"stage1": x}
        for number, blocks in enumerate(self.stages, 2):
            for block in blocks:
                x = run_block(block, x, training)
            features[f"stage{number}"] = x
        return features


def _keep_probability(last: float, input_stride: int) -> float:
    """The linear schedule: only axial blocks use drop path, those at stride 32 with the full probability."""
    if input_stride < 16:
        return 1.0
    return 1.0 - (1.0 - last) * (input_stride.bit_length() - 2) / 4


ENCODERS = {"kmax_axial_resnet50": lambda options, norm: AxialResNet(norm, options.drop_path_keep_prob)}

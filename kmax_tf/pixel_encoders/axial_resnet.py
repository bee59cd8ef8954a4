"""Axial-ResNet-50, the encoder of MaX-S: axial attention replaces 3x3 convolutions in blocks with input stride >= 16."""

from kmax_tf.layers.activations import gelu
from kmax_tf.layers.convolution import ConvNorm
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.residual import ResidualBlock
from kmax_tf.pixel_encoders.resnet import BLOCKS, CHANNELS, ResNet


def axial_resnet50(norm: NormSpec, drop_path_keep_probability: float) -> ResNet:
    """Axial-ResNet-50; 128 channels in stage1."""
    stem = [
        ConvNorm(64, 3, norm, stride=2, activation=gelu),
        ConvNorm(64, 3, norm, activation=gelu),
        ConvNorm(128, 3, norm),
    ]
    stages = []
    for stage, (blocks, channels) in enumerate(zip(BLOCKS, CHANNELS), 1):
        input_strides = [2**stage] + [2 ** (stage + 1)] * (blocks - 1)
        stages.append(
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
    return ResNet(gelu, stem, stages)


def _keep_probability(last: float, input_stride: int) -> float:
    """The linear schedule: only axial blocks use drop path, those at stride 32 with the full probability."""
    if input_stride < 16:
        return 1.0
    return 1.0 - (1.0 - last) * (input_stride.bit_length() - 2) / 4


ENCODERS = {"kmax_axial_resnet50": lambda options, norm: axial_resnet50(norm, options.drop_path_keep_prob)}

"""ConvNeXt (arXiv:2201.03545) as a pixel encoder, with padding that keeps sizes of 32k+1 aligned."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from kmax_tf.layers.activations import Activation, gelu
from kmax_tf.layers.convolution import on_rows, truncated_normal
from kmax_tf.layers.drop_path import DropPath
from kmax_tf.layers.layer_norm import LayerNorm
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.recompute import run_block
from protos import model_pb2


class Variant(NamedTuple):
    """Numbers of blocks and channels of the four stages."""

    depths: tuple[int, ...]
    channels: tuple[int, ...]


VARIANTS = {
    "atto": Variant((2, 2, 6, 2), (40, 80, 160, 320)),
    "femto": Variant((2, 2, 6, 2), (48, 96, 192, 384)),
    "pico": Variant((2, 2, 6, 2), (64, 128, 256, 512)),
    "nano": Variant((2, 2, 8, 2), (80, 160, 320, 640)),
    "tiny": Variant((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": Variant((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": Variant((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": Variant((3, 3, 27, 3), (192, 384, 768, 1536)),
    "xlarge": Variant((3, 3, 27, 3), (256, 512, 1024, 2048)),
}


class Downsample(tf_keras.layers.Layer):
    """Convolution with kernel size = stride; the norm comes after it in the stem and before it elsewhere.

    If the norm comes first, it also applies to the padding, where zeros become its beta; the published weights were trained
    this way.
    """

    def __init__(self, channels: int, *, stem: bool):
        super().__init__()
        self.stem = stem
        size = 4 if stem else 2
        self.padding = [[0, 0], [1, 2], [1, 2], [0, 0]] if stem else [[0, 0], [0, 1], [0, 1], [0, 0]]
        self.conv = tf_keras.layers.Conv2D(channels, size, size, "valid", kernel_initializer=truncated_normal(0.02))
        self.norm = LayerNorm()

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.pad(x, self.padding)
        return self.norm(self.conv(x)) if self.stem else self.conv(self.norm(x))


class Block(tf_keras.layers.Layer):
    """x + scale * MLP(LayerNorm(depthwise 7x7(x))), [B,H,W,channels] -> the same."""

    def __init__(self, channels: int, keep_probability: float):
        super().__init__()
        self.channels = channels
        self.depthwise = tf_keras.layers.DepthwiseConv2D(7, padding="same", depthwise_initializer=truncated_normal(0.02))
        self.norm = LayerNorm()
        self.expand = tf_keras.layers.Dense(4 * channels, kernel_initializer=truncated_normal(0.02))
        self.project = tf_keras.layers.Dense(channels, kernel_initializer=truncated_normal(0.02))
        self.drop_path = DropPath(keep_probability)

    def build(self, _) -> None:
        self.layer_scale = self.add_weight("layer_scale", [self.channels], initializer=tf_keras.initializers.Constant(1e-6))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        y = on_rows(self.norm(self.depthwise(x)), lambda rows: self.project(gelu(self.expand(rows))))
        return x + self.drop_path(y * self.layer_scale, training=training)


class ConvNeXt(tf_keras.layers.Layer):
    """[B,H,W,3] -> {"stage1": stride 4, "stage2": stride 4, "stage3": 8, "stage4": 16, "stage5": 32}, not activated.

    stage1 is the output of the stem. Unlike in a ResNet, it has the resolution of stage2.
    """

    def __init__(self, variant: Variant, drop_path_keep_probability: float):
        super().__init__()
        self.activation: Activation = gelu
        keep = iter(np.linspace(1.0, drop_path_keep_probability, sum(variant.depths)))
        self.downsamples = [Downsample(channels, stem=stage == 0) for stage, channels in enumerate(variant.channels)]
        self.stages = [
            [Block(channels, float(next(keep))) for _ in range(depth)]
            for depth, channels in zip(variant.depths, variant.channels)
        ]

    def call(self, x: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        features = {}
        for number, (downsample, blocks) in enumerate(zip(self.downsamples, self.stages), 2):
            x = downsample(x)
            if number == 2:
                features["stage1"] = x
            for block in blocks:
                x = run_block(block, x, training)
            features[f"stage{number}"] = x
        return features


def _build(name: str) -> Callable[[model_pb2.BackboneOptions, NormSpec], ConvNeXt]:
    return lambda options, norm: ConvNeXt(VARIANTS[name], options.drop_path_keep_prob)


ENCODERS = {f"kmax_convnext_{name}": _build(name) for name in VARIANTS}

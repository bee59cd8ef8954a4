"""Pixel encoders: image -> features at strides 2 (or 4), 4, 8, 16 and 32."""

import tf_keras

from kmax_tf.layers.normalization import NormSpec
from kmax_tf.registry import registered
from protos import model_pb2


def build_encoder(options: model_pb2.BackboneOptions, norm: NormSpec) -> tf_keras.layers.Layer:
    """The encoder that the options name; config validation has checked the name.

    Modules of this package register encoders in `ENCODERS`, a dict of functions with these arguments by name. They return a
    layer with the attribute `activation` (the function to apply to its features, which are not activated) whose
    `call(images [B,H,W,3], training)` returns a dict `stage1` .. `stage5` [B,h,w,C] at strides 2 (or 4), 4, 8, 16 and 32.
    """
    return registered(__name__, "ENCODERS")[options.name](options, norm)

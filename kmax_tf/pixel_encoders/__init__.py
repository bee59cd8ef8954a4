"""Pixel encoders: image -> features at strides 2 (or 4), 4, 8, 16 and 32."""

import tf_keras

from kmax_tf.layers.normalization import NormSpec
from kmax_tf.pixel_encoders import axial_resnet, convnext, resnet
from protos import model_pb2


def build_encoder(options: model_pb2.BackboneOptions, norm: NormSpec) -> tf_keras.layers.Layer:
    """The encoder named in the options; its name has been validated with the config."""
    name = options.name.removeprefix("kmax_")
    if name == "resnet50":
        return resnet.ResNet(norm)
    if name == "axial_resnet50":
        return axial_resnet.AxialResNet(norm, options.drop_path_keep_prob)
    return convnext.ConvNeXt(convnext.VARIANTS[name.removeprefix("convnext_")], options.drop_path_keep_prob)

import numpy as np
import tensorflow as tf

from kmax_tf.layers.normalization import NormSpec
from kmax_tf.pixel_encoders.axial_resnet import axial_resnet50
from kmax_tf.pixel_encoders.resnet import resnet50

STRIDES = (2, 4, 8, 16, 32)


def endpoint_shapes(encoder, size):
    return [tuple(feature.shape[1:]) for feature in encoder(tf.zeros([1, *size, 3])).values()]


def expected_shapes(size, channels):
    return [(*((one - 1) // stride + 1 for one in size), width) for stride, width in zip(STRIDES, channels)]


def test_endpoints():
    size = (65, 97)
    assert endpoint_shapes(resnet50(NormSpec()), size) == expected_shapes(size, (64, 256, 512, 1024, 2048))
    assert endpoint_shapes(axial_resnet50(NormSpec(), 1.0), size) == expected_shapes(size, (128, 256, 512, 1024, 2048))


def test_axial_attention_and_drop_path_start_at_stride_16():
    blocks = [block for stage in axial_resnet50(NormSpec(), 0.8).stages for block in stage]
    assert [block.axial for block in blocks] == [False] * 8 + [True] * 8
    keep = [block.drop_path.keep_probability for block in blocks]
    # 1 - (1 - keep) * stage / 4, where stage 3 has stride 16 and stage 4 stride 32.
    np.testing.assert_allclose(keep, [1.0] * 8 + [0.85] * 6 + [0.8] * 2)

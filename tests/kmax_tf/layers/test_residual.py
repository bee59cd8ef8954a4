import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.layers.activations import gelu, relu
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.residual import ResidualBlock


def make_input(channels, height=9, width=13):
    return np.random.default_rng(0).standard_normal((2, height, width, channels)).astype(np.float32)


@pytest.mark.parametrize("axial", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [16, 32])
def test_a_new_block_equals_its_shortcut(channels, stride, axial):
    """The last norm of the branch starts at zero, so a new block returns its activated input."""
    block = ResidualBlock(8, NormSpec(epsilon=0.0), relu, axial=axial, stride=stride)
    x = make_input(channels)
    output = block(x).numpy()
    activated = np.maximum(x, 0)[:, ::stride, ::stride]
    if channels == 32:
        assert block.shortcut is None
        np.testing.assert_array_equal(output, activated)
    else:
        expected = activated @ block.shortcut.conv.kernel.numpy()[0, 0]
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axial", [False, True])
def test_branch(axial):
    block = ResidualBlock(8, NormSpec(), gelu, axial=axial, dilation=2)
    x = make_input(32)
    block(x)
    block.conv3.norm.gamma.assign(tf.ones([32]))
    activated = gelu(x)
    y = block.conv1(activated)
    assert y.shape[-1] == (16 if axial else 8)
    y = gelu(block.attention(y)) if axial else block.conv2(y)
    np.testing.assert_allclose(block(x), activated + block.conv3(y), rtol=1e-5, atol=1e-5)
    if not axial:
        assert block.conv2.conv.dilation_rate == (2, 2)


def test_drop_path_drops_only_the_branch():
    block = ResidualBlock(8, NormSpec(), gelu, keep_probability=0.5)
    x = np.repeat(make_input(32)[:1], 64, 0)
    block(x)
    block.conv3.norm.gamma.assign(tf.ones([32]))
    difference = (block(x, training=True) - gelu(x)).numpy()
    kept = np.abs(difference).max((1, 2, 3)) > 0
    assert 10 < kept.sum() < 54
    np.testing.assert_array_equal(difference[~kept], 0)

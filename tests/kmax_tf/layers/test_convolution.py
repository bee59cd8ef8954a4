"""Convolutions compared with scipy, and their alignment at sizes of 32k+1."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate2d

from kmax_tf.layers.activations import gelu, relu
from kmax_tf.layers.convolution import ConvNorm, DenseNorm, SeparableConvNorm
from kmax_tf.layers.normalization import NormSpec

NORM = NormSpec(epsilon=0.0)  # Moving mean 0 and variance 1: the norm changes nothing.


def make_input(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def convolve(image, kernel):
    """[H,W,C] with [k,k,C,D], zeros outside."""
    channels, outputs = kernel.shape[2:]
    planes = [sum(correlate2d(image[..., c], kernel[..., c, d], "same") for c in range(channels)) for d in range(outputs)]
    return np.stack(planes, -1)


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_stride_keeps_every_second_pixel(kernel_size, stride):
    layer = ConvNorm(4, kernel_size, NORM, stride=stride, activation=relu)
    x = make_input(2, 9, 13, 3)
    output = layer(x).numpy()
    kernel = layer.conv.kernel.numpy()
    for image, found in zip(x, output):
        np.testing.assert_allclose(found, np.maximum(convolve(image, kernel), 0)[::stride, ::stride], rtol=1e-4, atol=1e-5)
    assert len(layer.weights) == 5  # kernel and batch norm, no bias


def test_dilation():
    layer = ConvNorm(2, 3, NORM, dilation=2)
    x = make_input(1, 9, 9, 2)
    output = layer(x).numpy()[0]
    wide = np.zeros((5, 5, 2, 2))
    wide[::2, ::2] = layer.conv.kernel.numpy()
    np.testing.assert_allclose(output, convolve(x[0], wide), rtol=1e-4, atol=1e-5)


def test_separable():
    layer = SeparableConvNorm(4, 5, NORM, activation=relu)
    x = make_input(1, 7, 9, 3)
    output = layer(x).numpy()[0]
    depthwise = layer.depthwise.depthwise_kernel.numpy()[..., 0]
    between = np.stack([correlate2d(x[0, ..., c], depthwise[..., c], "same") for c in range(3)], -1)
    expected = np.maximum(np.maximum(between, 0) @ layer.pointwise.conv.kernel.numpy()[0, 0], 0)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_dense_normalizes_over_batch_and_positions():
    layer = DenseNorm(4, NormSpec(epsilon=1e-3), activation=tf.nn.tanh, gamma=0.5)
    x = make_input(3, 5, 6)
    output = layer(x, training=True).numpy()
    y = x @ layer.dense.kernel.numpy()
    y = 0.5 * (y - y.mean((0, 1))) / np.sqrt(y.var((0, 1)) + 1e-3)
    np.testing.assert_allclose(output, np.tanh(y), rtol=1e-4, atol=1e-5)


def randomize(layer, *norms):
    random = np.random.default_rng(1)
    for variable in layer.weights:
        variable.assign(random.uniform(0.3, 1.5, variable.shape) * random.choice([-1, 1], variable.shape))
    for norm in norms:
        norm.moving_variance.assign(np.abs(norm.moving_variance))


def normalized(x, norm):
    gamma, beta, mean, variance = (w.numpy() for w in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance))
    return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta


@pytest.mark.parametrize("activation", [gelu, relu])
@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_folded_convolution(kernel_size, stride, activation):
    layer = ConvNorm(4, kernel_size, NormSpec(), stride=stride, activation=activation)
    x = make_input(2, 9, 13, 3)
    layer(x)
    randomize(layer, layer.norm)
    y = np.stack([convolve(image, layer.conv.kernel.numpy())[::stride, ::stride] for image in x])
    expected = activation(normalized(y, layer.norm))
    layer.fold_norm()
    dynamic = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, 3])], autograph=False)
    for found in (layer(x), dynamic(x)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="cannot be trained"):
        layer(x, training=True)
    with pytest.raises(ValueError, match="folded already"):
        layer.fold_norm()


def test_folded_separable_convolution():
    layer = SeparableConvNorm(4, 5, NormSpec(), activation=relu)
    x = make_input(1, 7, 9, 3)
    layer(x)
    randomize(layer, layer.depthwise_norm, layer.pointwise.norm)
    depthwise = layer.depthwise.depthwise_kernel.numpy()[..., 0]
    between = np.stack([correlate2d(x[0, ..., c], depthwise[..., c], "same") for c in range(3)], -1)
    between = np.maximum(normalized(between, layer.depthwise_norm), 0)
    expected = np.maximum(normalized(between @ layer.pointwise.conv.kernel.numpy()[0, 0], layer.pointwise.norm), 0)
    layer.fold_norm()
    layer.pointwise.fold_norm()
    np.testing.assert_allclose(layer(x)[0], expected, rtol=1e-4, atol=1e-4)


def test_folded_projection():
    layer = DenseNorm(4, NormSpec(), activation=gelu)
    x = make_input(3, 5, 6)
    layer(x)
    randomize(layer, layer.norm)
    expected = gelu(normalized(x @ layer.dense.kernel.numpy(), layer.norm))
    layer.fold_norm()
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-4)

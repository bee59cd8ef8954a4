import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.pixel_encoders.convnext import VARIANTS, Block, ConvNeXt, Downsample


def randomize(layer, *inputs):
    layer(*inputs)
    random = np.random.default_rng(0)
    for variable in layer.weights:
        variable.assign(random.standard_normal(variable.shape))
    return layer


def normalize(x, norm):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * norm.gamma.numpy() + norm.beta.numpy()


def convolve_blocks(x, conv):
    """A convolution with stride = kernel size, patch by patch."""
    kernel, bias = conv.kernel.numpy(), conv.bias.numpy()
    size = kernel.shape[0]
    height, width = x.shape[0] // size, x.shape[1] // size
    patches = x[: height * size, : width * size].reshape(height, size, width, size, -1)
    return np.einsum("ykxlc,klcd->yxd", patches, kernel) + bias


def test_padding_before_the_norm_becomes_its_beta():
    x = np.random.default_rng(1).standard_normal((1, 5, 5, 3)).astype(np.float32)
    layer = randomize(Downsample(4, stem=False), x)
    padded = np.tile(layer.norm.beta.numpy(), (6, 6, 1))
    padded[:5, :5] = normalize(x[0], layer.norm)
    np.testing.assert_allclose(layer(x)[0], convolve_blocks(padded, layer.conv), rtol=1e-4, atol=1e-4)


def test_stem_pads_one_pixel_before_and_two_after():
    x = np.random.default_rng(1).standard_normal((1, 9, 9, 3)).astype(np.float32)
    layer = randomize(Downsample(4, stem=True), x)
    padded = np.zeros((12, 12, 3))
    padded[1:10, 1:10] = x[0]
    np.testing.assert_allclose(layer(x)[0], normalize(convolve_blocks(padded, layer.conv), layer.norm), rtol=1e-4, atol=1e-4)


def test_a_new_block_is_nearly_the_identity_and_adds_a_scaled_branch():
    x = np.random.default_rng(1).standard_normal((1, 9, 9, 4)).astype(np.float32)
    layer = Block(4, 1.0)
    np.testing.assert_allclose(layer(x), x, atol=1e-4)
    randomize(layer, x)
    branch = layer(x).numpy() - x
    layer.layer_scale.assign(2 * layer.layer_scale)
    np.testing.assert_allclose(layer(x).numpy() - x, 2 * branch, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [(65, 97), (33, 33)])
def test_endpoints(size):
    features = ConvNeXt(VARIANTS["atto"], 1.0)(tf.zeros([1, *size, 3]))
    strides, channels = (4, 4, 8, 16, 32), (40, 40, 80, 160, 320)
    for number, (stride, width) in enumerate(zip(strides, channels), 1):
        expected = [1, *((one - 1) // stride + 1 for one in size), width]
        assert features[f"stage{number}"].shape == expected
    assert len(features) == 5


def test_keep_probability_falls_linearly():
    model = ConvNeXt(VARIANTS["atto"], 0.4)
    keep = [block.drop_path.keep_probability for blocks in model.stages for block in blocks]
    np.testing.assert_allclose(keep, np.linspace(1.0, 0.4, 12))

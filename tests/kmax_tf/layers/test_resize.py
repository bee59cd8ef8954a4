import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.layers.resize import resize_bilinear, resize_like


def interpolate(x, height, width):
    """Interpolates every output pixel from its four neighbors, with the corners of both images aligned."""
    batch, rows, columns, channels = x.shape
    output = np.zeros((batch, height, width, channels))
    for i in range(height):
        for j in range(width):
            y = i * (rows - 1) / max(height - 1, 1)
            z = j * (columns - 1) / max(width - 1, 1)
            top, left = min(int(y), rows - 1), min(int(z), columns - 1)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            a, b = y - top, z - left
            output[:, i, j] = (1 - a) * ((1 - b) * x[:, top, left] + b * x[:, top, right])
            output[:, i, j] += a * ((1 - b) * x[:, bottom, left] + b * x[:, bottom, right])
    return output


@pytest.mark.parametrize("size", [(9, 13), (17, 25), (5, 7), (4, 11), (3, 1)])
def test_resizing_equals_loops(size):
    x = np.random.default_rng(0).standard_normal((2, 9, 13, 3)).astype(np.float32)
    np.testing.assert_allclose(resize_bilinear(tf.constant(x), *size), interpolate(x, *size), rtol=1e-4, atol=1e-5)


def test_a_single_pixel_fills_the_output():
    x = tf.constant([[[[2.0, -3.0]]]])
    np.testing.assert_array_equal(resize_bilinear(x, 4, 5), np.broadcast_to(x, (1, 4, 5, 2)))


def test_halving_the_size_keeps_every_second_pixel():
    x = np.random.default_rng(0).standard_normal((1, 5, 7, 2)).astype(np.float32)
    np.testing.assert_allclose(resize_bilinear(tf.constant(x), 9, 13)[:, ::2, ::2], x, atol=1e-6)


def test_unknown_sizes_and_types():
    x = np.random.default_rng(0).standard_normal((1, 5, 7, 2)).astype(np.float32)
    target = tf.zeros([1, 9, 11, 1])
    unknown = tf.TensorSpec([None, None, None, None])
    dynamic = tf.function(resize_like, input_signature=[unknown, unknown])
    np.testing.assert_allclose(dynamic(x, target), resize_like(tf.constant(x), target), rtol=1e-6)
    assert resize_like(tf.cast(x, tf.bfloat16), target).dtype == tf.bfloat16


def _values_and_gradient(x, size, weights, **options):
    """Resized values, the gradient of their weighted sum, and the types of operations of a graph."""

    @tf.function(input_signature=[tf.TensorSpec(x.shape, x.dtype)], autograph=False, **options)
    def run(x):
        resized = resize_bilinear(x, *size)
        return resized, tf.gradients(tf.reduce_sum(tf.cast(resized, tf.float32) * weights), x)[0]

    results = [tf.cast(value, tf.float32).numpy() for value in run(x)]
    return *results, {operation.type for operation in run.get_concrete_function().graph.get_operations()}


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
@pytest.mark.parametrize(
    ("size", "whole"), [((17, 25), True), ((9, 37), True), ((65, 13), True), ((18, 25), False), ((5, 7), False)]
)
def test_programs_of_xla_enlarge_by_whole_factors_without_a_gather(size, whole, dtype):
    rng = np.random.default_rng(0)
    x, weights = tf.cast(rng.standard_normal((2, 9, 13, 3)), dtype), rng.standard_normal((2, *size, 3)).astype(np.float32)
    plain, gradient, types = _values_and_gradient(x, size, weights)
    compiled, compiled_gradient, compiled_types = _values_and_gradient(x, size, weights, jit_compile=True)
    assert "ResizeBilinear" in types and ("ResizeBilinear" in compiled_types) != whole
    tolerance = 3e-6 if dtype == tf.float32 else 1e-2
    np.testing.assert_allclose(compiled, plain, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(compiled_gradient, gradient, rtol=tolerance, atol=10 * tolerance)

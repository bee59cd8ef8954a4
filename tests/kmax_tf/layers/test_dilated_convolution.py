"""The convolution that leaves out taps compared with the one of tf_keras, which computes all of them."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from kmax_tf.layers.dilated_convolution import DilatedConv2D


def _pair(rate: int, kernel_size: int = 3) -> tuple[DilatedConv2D, tf_keras.layers.Conv2D]:
    """Both convolutions with the same kernel."""
    ours, theirs = (
        kind(6, kernel_size, padding="same", dilation_rate=rate, use_bias=False)
        for kind in (DilatedConv2D, tf_keras.layers.Conv2D)
    )
    for layer in (ours, theirs):
        layer.build([None, None, None, 4])
    theirs.set_weights(ours.get_weights())
    return ours, theirs


def _values(shape: tuple[int, ...]) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).standard_normal(shape), tf.float32)


@pytest.mark.parametrize(("height", "width"), [(9, 9), (9, 13), (5, 20), (21, 21), (1, 1)])
@pytest.mark.parametrize(("rate", "kernel_size"), [(6, 3), (12, 3), (18, 3), (4, 5)])
def test_output_and_gradients_are_those_of_all_taps(height, width, rate, kernel_size):
    x, upstream = _values((2, height, width, 4)), _values((2, height, width, 6))
    results = []
    for layer in _pair(rate, kernel_size):
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x)
            loss = tf.reduce_sum(output * upstream)
        results.append((output, *tape.gradient(loss, [x, layer.kernel])))
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def _operations(layer: DilatedConv2D, *shape: int | None) -> list[str]:
    traced = tf.function(layer, autograph=False).get_concrete_function(tf.TensorSpec(shape))
    return [op.type for op in traced.graph.get_operations()]


def test_taps_that_see_nothing_are_left_out():
    ours, _ = _pair(18)
    assert _operations(ours, 2, 9, 9, 4).count("MatMul") == 1
    assert _operations(ours, 2, 9, 25, 4).count("MatMul") == 3
    assert _operations(ours, 2, 25, 25, 4).count("MatMul") == 9


def test_large_maps_and_maps_of_unknown_size_are_convolved():
    ours, theirs = _pair(2)
    for shape in ((2, 33, 33, 4), (2, None, None, 4)):
        assert _operations(ours, *shape) == _operations(theirs, *shape)


def test_precision_is_that_of_the_input():
    layer = DilatedConv2D(6, 3, padding="same", dilation_rate=12, use_bias=False, dtype="mixed_bfloat16")
    assert layer(_values((1, 9, 9, 4))).dtype == tf.bfloat16

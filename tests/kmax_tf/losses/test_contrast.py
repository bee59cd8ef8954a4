"""The blockwise contrast compared with all pairs of pixels at once, for numbers of pixels with and without a rest."""

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.losses import contrast
from kmax_tf.losses.contrast import mean_contrast

ROWS, TEMPERATURE = 5, 0.3


def _pixels(size: int, batch: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Features of unit length, and masks of which one has a single pixel and one has none."""
    random = np.random.default_rng(size)
    features = random.standard_normal((batch, size, 6))
    row = random.choice([-1, 0, 1, 4], (batch, size))
    row[:, 0] = 2
    return features / np.linalg.norm(features, axis=-1, keepdims=True), row


def _of_all_pairs(features: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean cross entropy of the pixels with a mask, and the gradient softmax - target of all pixels, in float64."""
    similarity = features @ features.transpose(0, 2, 1) / TEMPERATURE
    softmax = np.exp(similarity) / np.exp(similarity).sum(2, keepdims=True)
    same = (row[:, :, None] == row[:, None, :]) & (row >= 0)[:, :, None]
    target = same / np.maximum(same.sum(2, keepdims=True), 1)
    count = (row >= 0).sum(1)
    by_similarity = (softmax - target) / count[:, None, None] / TEMPERATURE
    return -(target * np.log(softmax)).sum((1, 2)) / count, (by_similarity + by_similarity.transpose(0, 2, 1)) @ features


def _loss_and_gradient(features: tf.Tensor, row: tf.Tensor, upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    loss = mean_contrast(features, row, ROWS, TEMPERATURE)
    return loss, tf.gradients(loss, features, upstream)[0]


# 1, 2, 3, 4 and 5 blocks, with all blocks full or some rows missing in the last one.
@pytest.mark.parametrize("size", [1, 3, 8, 16, 23, 24, 31, 32, 38])
@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "xla"])
def test_loss_and_gradient_are_those_of_all_pairs(monkeypatch, size, compiled):
    monkeypatch.setattr(contrast, "_BLOCK", 8)
    features, row = _pixels(size)
    expected, by_features = _of_all_pairs(features, row)
    upstream = np.array([1.0, -2.5], np.float32)
    compute = tf.function(_loss_and_gradient, jit_compile=compiled, autograph=False)
    loss, gradient = compute(tf.constant(features, tf.float32), tf.constant(row, tf.int32), tf.constant(upstream))
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, upstream[:, None, None] * by_features, rtol=1e-4, atol=1e-6)


def test_image_without_masks_has_no_loss_and_no_gradient():
    features, _ = _pixels(10)
    compute = tf.function(_loss_and_gradient, autograph=False)
    loss, gradient = compute(tf.constant(features, tf.float32), tf.fill([2, 10], -1), tf.ones([2]))
    np.testing.assert_array_equal(loss, 0)
    np.testing.assert_array_equal(gradient, 0)


def test_no_tensor_has_all_pairs_of_pixels():
    """What is kept at a time is half of the pairs of one image, in blocks."""
    size = 2048

    @tf.function(autograph=False)
    def compute(features: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _loss_and_gradient(features, row, tf.ones([3]))

    traced = compute.get_concrete_function(tf.TensorSpec([3, size, 6]), tf.TensorSpec([3, size], tf.int32))
    functions = [traced.graph, *(f.graph for f in traced.graph._functions.values() if hasattr(f, "graph"))]
    shapes = [output.shape for graph in functions for node in graph.get_operations() for output in node.outputs]
    sizes = [shape.num_elements() for shape in shapes if shape.rank and shape.is_fully_defined()]
    assert len(functions) > 1 and max(sizes) <= size * contrast._BLOCK


def test_sample_repeats_bit_for_bit():
    features, row = _pixels(1300)
    compute = tf.function(_loss_and_gradient, autograph=False)
    results = [compute(tf.constant(features, tf.float32), tf.constant(row, tf.int32), tf.ones([2])) for _ in range(20)]
    for loss, gradient in results[1:]:
        np.testing.assert_array_equal(loss, results[0][0])
        np.testing.assert_array_equal(gradient, results[0][1])

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import ndtr

from kmax_tf.layers.activations import gelu, tflite_operations

POINTS = np.concatenate([np.linspace(-12, 12, 481), [-1e4, 1e4]])


def test_values():
    np.testing.assert_allclose(gelu(tf.constant(POINTS, tf.float32)), POINTS * ndtr(POINTS), rtol=1e-6, atol=1e-6)


def test_gradient_equals_finite_differences():
    x = tf.constant(POINTS, tf.float64)
    upstream = np.linspace(-2, 3, len(POINTS))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = gelu(x) * upstream
    step = 1e-5
    differences = ((POINTS + step) * ndtr(POINTS + step) - (POINTS - step) * ndtr(POINTS - step)) / (2 * step)
    np.testing.assert_allclose(tape.gradient(y, x), differences * upstream, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_type_and_gradient_at_large_values(dtype):
    x = tf.constant([-100.0, 0.0, 100.0], dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = gelu(x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(tf.cast(y, tf.float32), [0, 0, 100])
    np.testing.assert_array_equal(tf.cast(tape.gradient(y, x), tf.float32), [0, 0.5, 1])


def test_gelu_keeps_one_tensor_for_its_gradient():
    @tf.function(autograph=False)
    def step(x, upstream):
        return tf.gradients(gelu(x), x, upstream)

    graph = step.get_concrete_function(tf.TensorSpec([2, 3]), tf.TensorSpec([2, 3])).graph
    kept, waiting = set(), [graph.outputs[0]]
    while waiting:
        tensor = waiting.pop()
        if tensor.op.name.startswith("gradients/") or tensor.op.type == "Identity":
            waiting += tensor.op.inputs
        elif tensor.shape.rank == 2:
            kept.add(tensor.name)
    assert len(kept) == 2 and graph.inputs[1].name in kept and graph.inputs[0].name not in kept


def test_the_form_for_tflite_has_the_same_values_and_becomes_one_operation():
    x = np.linspace(-12, 12, 1001).astype(np.float32).reshape(7, 11, 13)
    with tflite_operations(True):
        graph = tf.function(gelu).get_concrete_function(tf.TensorSpec(x.shape, tf.float32))
    np.testing.assert_array_equal(graph(tf.constant(x)), gelu(tf.constant(x)))
    # Fails with "TF Select ops: Erf" in the other form.
    assert tf.lite.TFLiteConverter.from_concrete_functions([graph]).convert()

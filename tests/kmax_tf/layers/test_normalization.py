"""Batch norm compared with the formula in NumPy, in float64."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from command_line import run_script

from kmax_tf.layers.normalization import NormSpec, only_finite_statistics

# Shape of the input and the axes with separate statistics; the last two do not use the fused kernel.
FUSED = [((8, 6), -1), ((4, 5, 6), -1), ((2, 7, 5, 6), -1)]
UNFUSED = [
    ((2, 8, 5, 5), 1),
    ((2, 7, 5, 6, 1), -1),
    ((2, 4, 5, 3), (1, 3)),
    ((3, 2, 4, 5, 5), (0, 2)),
    ((2, 3, 4, 5, 6), (0, 2, 4)),
]
MOMENTUM, EPSILON = 0.9, 1e-3


def make_layer(shape, axis, **options):
    layer = NormSpec(MOMENTUM, EPSILON, **options).layer(axis)
    layer(tf.zeros(shape))
    random = np.random.default_rng(0)
    for variable in layer.weights:
        variable.assign(random.uniform(0.5, 2.0, variable.shape))
    return layer


def make_input(shape, seed=1):
    random = np.random.default_rng(seed)
    return (random.standard_normal(shape) * random.uniform(0.5, 2, shape[-1]) + random.uniform(-3, 3, shape[-1])).astype(
        np.float32
    )


def expected(x, axis, layer, training):
    """The output and the resulting moving statistics."""
    x = x.astype(np.float64)
    axes = (axis,) if isinstance(axis, int) else axis
    kept = {a % x.ndim for a in axes}
    reduced = tuple(a for a in range(x.ndim) if a not in kept)
    full = [x.shape[a] if a in kept else 1 for a in range(x.ndim)]
    gamma, beta, mean, variance = (
        variable.numpy().astype(np.float64).reshape(full)
        for variable in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    )
    if training:
        batch_mean, batch_variance = x.mean(reduced, keepdims=True), x.var(reduced, keepdims=True)
        moving = [MOMENTUM * old + (1 - MOMENTUM) * new for old, new in ((mean, batch_mean), (variance, batch_variance))]
        mean, variance = batch_mean, batch_variance
    else:
        moving = [mean, variance]
    return gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta, *moving


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("shape", "axis"), FUSED + UNFUSED, ids=str)
def test_output_and_moving_statistics(shape, axis, training):
    layer, x = make_layer(shape, axis), make_input(shape)
    output, mean, variance = expected(x, axis, layer, training)
    np.testing.assert_allclose(layer(x, training=training), output, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean.numpy().ravel(), mean.ravel(), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy().ravel(), variance.ravel(), rtol=1e-5)


@pytest.mark.parametrize(("shape", "axis"), FUSED + UNFUSED, ids=str)
def test_parameters_of_several_axes_have_full_rank(shape, axis):
    layer = make_layer(shape, axis)
    full = [shape[a] if a in {b % len(shape) for b in np.atleast_1d(axis)} else 1 for a in range(len(shape))]
    assert all(variable.shape == ([shape[axis]] if isinstance(axis, int) else full) for variable in layer.weights)


@pytest.mark.parametrize(("shape", "axis"), FUSED + UNFUSED, ids=str)
def test_gradients(shape, axis):
    layer, x, upstream = make_layer(shape, axis), make_input(shape), make_input(shape, seed=2)
    found = gradients(lambda x, gamma, beta: layer(x, training=True), x, layer.gamma, layer.beta, upstream)
    reduced = [a for a in range(len(shape)) if a not in {b % len(shape) for b in np.atleast_1d(axis)}]
    full = [1 if a in reduced else shape[a] for a in range(len(shape))]

    def formula(x, gamma, beta):
        mean = tf.reduce_mean(x, reduced, keepdims=True)
        variance = tf.reduce_mean((x - mean) ** 2, reduced, keepdims=True)
        return tf.reshape(gamma, full) * (x - mean) / tf.sqrt(variance + EPSILON) + tf.reshape(beta, full)

    doubles = (value.astype(np.float64) for value in (x, layer.gamma.numpy(), layer.beta.numpy(), upstream))
    for one, other in zip(found, gradients(formula, *(tf.Variable(value) for value in doubles))):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-4)


def gradients(function, x, gamma, beta, upstream):
    x = tf.Variable(x)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(function(x, gamma, beta) * upstream)
    return [gradient.numpy() for gradient in tape.gradient(total, [x, gamma, beta])]


def test_one_value_per_channel_has_no_variance():
    layer = make_layer((1, 6), -1)
    before = layer.moving_variance.numpy()
    output = layer(make_input((1, 6)), training=True)
    np.testing.assert_allclose(output, layer.beta[None], atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, MOMENTUM * before, rtol=1e-6)


@pytest.fixture
def bfloat16_policy():
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    tf_keras.mixed_precision.set_global_policy("float32")


@pytest.mark.usefixtures("bfloat16_policy")
@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float32])
def test_statistics_are_float32_and_the_output_has_the_type_of_the_input(dtype):
    layer, x = make_layer((2, 7, 5, 6), -1), tf.cast(make_input((2, 7, 5, 6)), dtype)
    output, mean, variance = expected(tf.cast(x, tf.float32).numpy(), -1, layer, training=True)
    found = layer(x, training=True)
    assert found.dtype == dtype
    tolerance = 1e-2 if dtype == tf.bfloat16 else 1e-4
    np.testing.assert_allclose(tf.cast(found, tf.float32), output, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(layer.moving_mean.numpy(), mean.ravel(), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), variance.ravel(), rtol=1e-5)


@pytest.mark.usefixtures("bfloat16_policy")
def test_gradients_of_bfloat16_match_those_of_float32():
    layer = make_layer((2, 7, 5, 6), -1)
    x, upstream = (tf.cast(make_input((2, 7, 5, 6), seed), tf.bfloat16) for seed in (1, 9))

    def with_type(dtype):
        return gradients(
            lambda x, *_: layer(x, training=True), tf.cast(x, dtype), layer.gamma, layer.beta, tf.cast(upstream, dtype)
        )

    for value, reference in zip(with_type(tf.bfloat16), with_type(tf.float32)):
        np.testing.assert_allclose(np.float32(value), reference, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(2, 300, 300, 3), (2, 90000, 3)])
def test_the_kernel_sees_the_batch_as_its_first_dimension(shape, training):
    """cuDNN limits it to 65535, and a flattened image is larger."""
    layer = make_layer(shape, -1)
    graph = tf.function(lambda x: layer(x, training=training)).get_concrete_function(tf.TensorSpec(shape)).graph
    kernels = [op for op in _operations(graph) if op.type.startswith("FusedBatchNorm")]
    assert kernels and all(op.inputs[0].shape[0] == 2 for op in kernels)


def _operations(graph):
    for op in graph.get_operations():
        yield op
        if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
            yield from _operations(graph._get_function(op.get_attr("f").name).graph)


def test_statistics_that_are_not_finite_can_be_left_out():
    layer = NormSpec(momentum=0.5).layer()
    x = np.ones((2, 3, 3, 2), np.float32)
    x[0, 1, 1, 1] = np.inf
    with only_finite_statistics(True):
        layer(tf.constant(x), training=True)
    np.testing.assert_allclose(layer.moving_mean.numpy(), [0.0, 0.0])
    np.testing.assert_allclose(layer.moving_variance.numpy(), [1.0, 1.0])
    layer(tf.constant(x), training=True)
    assert not np.isfinite(layer.moving_mean.numpy()[1])


def test_spec_sets_every_option():
    layer = NormSpec(momentum=0.7, epsilon=0.2, synchronized=False).layer(axis=1, gamma=0.1)
    layer(tf.zeros([2, 3, 4]))
    assert (layer.axis, layer.spec) == (1, NormSpec(0.7, 0.2, False))
    np.testing.assert_allclose(layer.gamma, [0.1] * 3)


@pytest.fixture(scope="module")
def replicated(tmp_path_factory):
    """Results of batch norm on two logical devices, which only a new process can create."""
    file = tmp_path_factory.mktemp("replicas") / "results.npz"
    done = run_script("tests/helpers/batch_norm_on_two_replicas.py", file)
    assert done.returncode == 0, done.stderr
    return np.load(file)


def test_replicas_share_the_statistics_of_the_whole_batch(replicated):
    for case in ("channels", "similarity"):
        x, mean, variance = (replicated[f"{case}/{name}"] for name in ("x", "moving_mean", "moving_variance"))
        axis = -1 if case == "channels" else (0, 2)
        layer = NormSpec(MOMENTUM, EPSILON).layer(axis)
        layer(tf.zeros(x.shape))
        output, expected_mean, expected_variance = expected(x, axis, layer, training=True)
        np.testing.assert_allclose(replicated[f"{case}/output"], output, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(mean.ravel(), expected_mean.ravel(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(variance.ravel(), expected_variance.ravel(), rtol=1e-4)
        gradient = gradients(lambda x, *_: layer(x, training=True), x, layer.gamma, layer.beta, replicated[f"{case}/upstream"])  # noqa: B023
        for name, value in zip(("gradient", "gamma_gradient", "beta_gradient"), gradient):
            np.testing.assert_allclose(replicated[f"{case}/{name}"], value, rtol=1e-3, atol=1e-5)


def test_without_synchronization_each_replica_uses_its_own_statistics(replicated):
    x = replicated["alone/x"]
    layer = NormSpec(MOMENTUM, EPSILON).layer()
    layer(tf.zeros(x.shape))
    parts = [expected(part, -1, layer, training=True) for part in np.split(x, 2)]
    np.testing.assert_allclose(replicated["alone/output"], np.concatenate([part[0] for part in parts]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(replicated["alone/moving_mean"], (parts[0][1] + parts[1][1]).ravel() / 2, rtol=1e-4, atol=1e-6)

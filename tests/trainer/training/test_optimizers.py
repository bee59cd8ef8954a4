"""Learning rate and weight decay against the formulas of the published recipe."""

import re

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from command_line import run_script

from protos import trainer_pb2
from trainer.training.optimizers import LearningRate, make_optimizer


def _solver(**values) -> trainer_pb2.SolverOptions:
    defaults = dict(base_learning_rate=5e-4, warmup_steps=50, training_number_of_steps=1000, optimizer="adamw")
    return trainer_pb2.SolverOptions(**(defaults | values))


@pytest.mark.parametrize("multiplier", [1.0, 0.1])
def test_warm_up_then_poly_over_the_absolute_step(multiplier):
    rate = LearningRate(_solver(), multiplier)
    for step in (0, 1, 49, 50, 51, 500, 999, 1000, 1200):
        expected = 5e-4 * multiplier * (step / 50 if step < 50 else (1 - min(step, 1000) / 1000) ** 0.9)
        np.testing.assert_allclose(rate(tf.constant(step)).numpy(), expected, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("multiplier", [1.0, 0.1])
def test_poly_ends_at_the_same_rate_whatever_the_multiplier(multiplier):
    solver = _solver(warmup_steps=0, poly_end_learning_rate=2e-5, poly_learning_power=0.7)
    steps = np.array([0, 1, 400, 999, 1000, 2000])
    start = 5e-4 * multiplier
    expected = (start - 2e-5) * (1 - np.minimum(steps, 1000) / 1000) ** 0.7 + 2e-5
    found = [LearningRate(solver, multiplier)(tf.constant(step)).numpy() for step in steps]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[-1] == pytest.approx(2e-5)


def test_cosine():
    rate = LearningRate(_solver(learning_policy="cosine", warmup_steps=0))
    for step in (0, 250, 1000):
        np.testing.assert_allclose(rate(tf.constant(step)).numpy(), 2.5e-4 * (1 + np.cos(np.pi * step / 1000)), atol=1e-9)


def test_adamw_decays_kernels_only_before_the_update():
    kernel = tf.Variable([1.0, -2.0], name="layer/kernel")
    gamma = tf.Variable([1.0, -2.0], name="layer/gamma")
    optimizer = make_optimizer(_solver(warmup_steps=0, adamw_weight_decay=0.05), [kernel, gamma])
    gradient = np.array([0.5, 0.25], np.float32)
    expected = {"kernel": np.array([1.0, -2.0]), "gamma": np.array([1.0, -2.0])}
    m = v = np.zeros(2)
    for step in range(3):
        optimizer.apply_gradients([(tf.constant(gradient), kernel), (tf.constant(gradient), gamma)])
        rate = 5e-4 * (1 - step / 1000) ** 0.9
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        scale = rate * np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
        expected["kernel"] -= rate * 0.05 * expected["kernel"]
        for value in expected.values():
            value -= scale * m / (np.sqrt(v) + 1e-7)
    np.testing.assert_allclose(kernel.numpy(), expected["kernel"], rtol=1e-5)
    np.testing.assert_allclose(gamma.numpy(), expected["gamma"], rtol=1e-5)


def _variables() -> list[tf.Variable]:
    """Kernels and others of several shapes, the same ones at every call."""
    random = np.random.default_rng(1)
    names = {"a/kernel": [3, 3, 4, 5], "a/gamma": [5], "b/qkv_kernel": [7, 6], "b/embeddings": [2, 3], "c/beta": []}
    return [tf.Variable(random.standard_normal(shape), dtype=tf.float32, name=name) for name, shape in names.items()]


def test_disabled_updates_change_nothing_but_the_step():
    variables = _variables()
    optimizer = make_optimizer(_solver(warmup_steps=0, adamw_weight_decay=0.05), variables)

    @tf.function
    def step(enabled: tf.Tensor, size: float) -> None:
        optimizer.enabled = enabled
        optimizer.apply_gradients([(tf.fill(v.shape, size), v) for v in variables], skip_gradients_aggregation=True)

    step(tf.constant(True), 0.5)
    kept = [v for v in [*variables, *optimizer.variables] if "iteration" not in v.name]
    before = [v.numpy() for v in kept]
    step(tf.constant(False), 0.0)
    for variable, value in zip(kept, before):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.name)
    assert optimizer.iterations.numpy() == 2
    step(tf.constant(True), 0.5)
    assert not np.array_equal(variables[0].numpy(), before[0])


def test_updates_and_slots_are_those_of_tf_keras():
    ours, theirs = _variables(), _variables()
    solver = _solver(warmup_steps=2, base_learning_rate=1e-2, adamw_weight_decay=0.05)
    fused = make_optimizer(solver, ours)
    reference = tf_keras.optimizers.AdamW(LearningRate(solver), weight_decay=0.05, jit_compile=False)
    reference.exclude_from_weight_decay(var_list=[v for v in theirs if "kernel" not in v.name])
    reference.build(theirs)
    random = np.random.default_rng(2)
    for _ in range(5):
        gradients = [tf.constant(random.standard_normal(v.shape), tf.float32) for v in ours]
        for optimizer, variables in ((fused, ours), (reference, theirs)):
            optimizer.apply_gradients(zip(gradients, variables), skip_gradients_aggregation=True)
    # A checkpoint has the optimizer's variables in their order.
    # Names begin with the kind of the variable; those of tf_keras go on with the model's variable.
    kinds, expected = ([(re.match(r"\w+", v.name)[0], v.shape) for v in o.variables] for o in (fused, reference))
    assert kinds == expected
    for one, other in zip([*ours, *fused.variables], [*theirs, *reference.variables]):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6, atol=1e-6, err_msg=one.name)


def test_each_variable_takes_few_operations():
    """Tracing a step, optimizing its graph and running it take time for each operation."""
    variables = _variables()
    optimizer = make_optimizer(_solver(adamw_weight_decay=0.05), variables)

    @tf.function(autograph=False)
    def apply(gradients: list[tf.Tensor]) -> None:
        optimizer.apply_gradients(zip(gradients, variables), skip_gradients_aggregation=True)

    def operations(count: int) -> int:
        specs = [tf.TensorSpec(v.shape) for v in variables[:count]]
        return len([op for op in apply.get_concrete_function(specs).graph.get_operations() if op.type != "Placeholder"])

    assert operations(5) - operations(1) <= 4 * 5


def test_replicas_have_the_update_of_one_device(tmp_path):
    results = tmp_path / "results.npz"
    done = run_script("tests/helpers/adamw_on_two_replicas.py", results)
    assert done.returncode == 0, done.stderr
    with np.load(results) as arrays:
        assert len(arrays["one"]) == 13  # 4 variables, 2 slots each, and the step
        for copy in ("first", "second"):
            np.testing.assert_allclose(arrays[copy], arrays["one"], rtol=1e-6)

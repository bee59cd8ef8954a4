"""Learning rate and weight decay against the formulas of the published recipe."""

import numpy as np
import pytest
import tensorflow as tf

from protos import trainer_pb2
from trainer.optimizers import LearningRate, make_optimizer


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

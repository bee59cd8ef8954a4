"""Norms that are folded for a while, as in the evaluations of a training."""

import contextlib

import numpy as np
import tensorflow as tf
import tf_keras
from example_configs import make_images, small_config

from kmax_tf import build_model
from kmax_tf.inference_graph import NormFolding
from kmax_tf.layers.normalization import BatchNorm
from kmax_tf.layers.one_pass import one_pass_loops
from kmax_tf.tensor_keys import CLASS_LOGITS, MASK_LOGITS


def test_one_graph_of_folded_norms_follows_the_weights():
    tf_keras.utils.set_random_seed(0)
    model, images, random = build_model(small_config()), make_images(33, 33), np.random.default_rng(0)
    norms = [layer for layer in model.submodules if isinstance(layer, BatchNorm)]
    folding, traced = NormFolding(model), []

    @tf.function(autograph=False)
    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        traced.append(None)
        with one_pass_loops():
            return {key: model(images, training=False)[key] for key in (CLASS_LOGITS, MASK_LOGITS)}

    for _ in range(2):
        for variable in model.variables:
            variable.assign(variable * random.uniform(0.8, 1.2, variable.shape) + random.uniform(0.0, 0.02, variable.shape))
        before = [variable.numpy() for variable in model.variables]
        expected = model(images, training=False)
        with contextlib.suppress(ZeroDivisionError), folding.applied():
            outputs = call(images)
            assert sum(norm.folded for norm in norms) > 0.8 * len(norms)
            raise ZeroDivisionError
        for key, value in outputs.items():
            scale = np.abs(expected[key]).max()
            np.testing.assert_allclose(value / scale, expected[key] / scale, atol=1e-4, err_msg=key)
        for variable, value in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value, variable.name)
        assert not any(norm.folded for norm in norms)
    assert len(traced) == 1

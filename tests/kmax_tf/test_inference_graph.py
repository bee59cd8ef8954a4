"""Folded norms, for a while, and how the network is compiled; tests/kmax_tf/test_parity.py compares with golden data."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from example_configs import make_images, small_config

from kmax_tf import build_model
from kmax_tf.inference_graph import NormFolding, fold_norms, inference_network
from kmax_tf.layers.normalization import BatchNorm
from kmax_tf.layers.one_pass import one_pass_enabled, one_pass_loops
from kmax_tf.tensor_keys import CLASS_LOGITS, MASK_LOGITS


@pytest.mark.parametrize("whole", [False, True])
def test_xla_compiles_all_of_the_network_or_its_loops(whole):
    loops = []

    def model(images, training, semantic):
        loops.append(one_pass_enabled())
        return {"output": 2 * images + training + semantic}

    network = inference_network(model, small_config([f"trainer_options.jit_compile={str(whole).lower()}"]))
    call = tf.function(lambda images: network(images, training=False, semantic=True), autograph=False)
    np.testing.assert_array_equal(call(tf.constant([1.0, 3.0]))["output"], [3, 7])
    assert set(loops) == {not whole}
    # A function that XLA compiles is a call in the graph, with this attribute.
    nodes = call.get_concrete_function(tf.constant([1.0, 3.0])).graph.as_graph_def().node
    assert any(node.attr["_XlaMustCompile"].b for node in nodes) == whole


# With random weights: the k-means steps of trained ones differ less.
@pytest.mark.slow
def test_the_compiled_network_equals_the_other():
    tf_keras.utils.set_random_seed(0)
    model = build_model(small_config())
    fold_norms(model)
    images = make_images()
    plain, compiled = (
        inference_network(model, small_config([f"trainer_options.jit_compile={value}"]))(images, training=False, semantic=False)
        for value in ("false", "true")
    )
    for name in (MASK_LOGITS, CLASS_LOGITS):
        scale = np.abs(plain[name]).mean()
        assert np.abs(plain[name] - compiled[name]).mean() <= 1e-3 * scale, name


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

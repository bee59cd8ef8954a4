"""Folded norms, for a while, and how the network is compiled; tests/kmax_tf/test_parity.py compares with golden data."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from example_configs import make_images, small_config

from kmax_tf import build_model, build_postprocessor
from kmax_tf.inference_graph import NormFolding, fold_norms, inference_maps
from kmax_tf.layers.normalization import BatchNorm
from kmax_tf.layers.one_pass import one_pass_loops
from kmax_tf.tensor_keys import CLASS_LOGITS, MASK_LOGITS


@pytest.mark.parametrize("whole", [False, True])
def test_xla_compiles_everything_from_images_to_maps_or_the_loops_of_the_model(whole):
    loops = []

    def model(images, training, semantic):
        loops.append((one_pass_loops.get(), training, semantic))
        values = tf.cast(images, tf.float32)
        masks = tf.image.resize(values[..., :1] * tf.range(4.0), [9, 9])
        return {MASK_LOGITS: masks, CLASS_LOGITS: values[:, :4, :7, 0]}

    predict = inference_maps(model, small_config([f"trainer_options.jit_compile={str(whole).lower()}"]))
    images = make_images(33, 33)
    call = tf.function(lambda images: predict(images, semantic=True), autograph=False)
    maps, outputs = call(images)
    assert set(loops) == {(not whole, False, True)}
    for name, expected in build_postprocessor(small_config())(outputs, (33, 33)).items():
        np.testing.assert_allclose(maps[name], expected, atol=1e-6, err_msg=name)
    # A function that XLA compiles is a call in the graph, with this attribute.
    nodes = call.get_concrete_function(images).graph.as_graph_def().node
    assert any(node.attr["_XlaMustCompile"].b for node in nodes) == whole


def test_maps_that_are_made_later_are_not_made_twice():
    def model(images, **_):
        return {MASK_LOGITS: images[..., :2], CLASS_LOGITS: images[:, 0]}

    options = ["trainer_options.jit_compile=true", "evaluator_options.merge_at_raw_size=true"]
    maps, outputs = inference_maps(model, small_config(options))(tf.zeros([1, 33, 33, 3]))
    assert not maps and set(outputs) == {MASK_LOGITS, CLASS_LOGITS}


# With random weights: the k-means steps of trained ones differ less.
@pytest.mark.slow
def test_the_compiled_model_equals_the_other():
    tf_keras.utils.set_random_seed(0)
    model = build_model(small_config())
    fold_norms(model)
    images = make_images()
    plain, compiled = (
        inference_maps(model, small_config([f"trainer_options.jit_compile={value}"]))(images)[1] for value in ("false", "true")
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
        with one_pass_loops(True):
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

"""Gradient checkpointing changes neither features nor gradients nor statistics of an encoder."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.recompute import recomputed_blocks, run_block
from kmax_tf.pixel_encoders import axial_resnet, build_encoder, convnext
from kmax_tf.randomness import random_stream
from protos import model_pb2

FEATURES = tuple(f"stage{number}" for number in range(1, 6))


@pytest.fixture(autouse=True)
def few_narrow_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of block, with and without a projected shortcut."""
    monkeypatch.setattr(axial_resnet, "BLOCKS", (2, 1, 1, 1))
    monkeypatch.setattr(axial_resnet, "CHANNELS", (8, 8, 16, 16))
    monkeypatch.setitem(convnext.VARIANTS, "atto", convnext.Variant((2, 1, 1, 1), (8, 16, 32, 64)))


def _pass(encoder: tf_keras.layers.Layer, images: tf.Tensor, recompute: bool) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """All features in training, and the gradients of a sum of theirs in which every value has another weight."""

    @tf.function(autograph=False)
    def run() -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        with random_stream(tf.constant([1, 2])), recomputed_blocks(recompute):
            features = [tf.cast(encoder(images, training=True)[name], tf.float32) for name in FEATURES]
        weights = [tf.random.stateless_normal(feature.shape, [3, i]) for i, feature in enumerate(features)]
        loss = tf.add_n([tf.reduce_mean(weight * feature) for weight, feature in zip(weights, features)])
        return features, tf.gradients(loss, encoder.trainable_variables)

    return run()


# The first stages of the axial encoder are those of a ResNet.
@pytest.mark.parametrize(("name", "policy"), [("kmax_axial_resnet50", "float32"), ("kmax_convnext_atto", "mixed_bfloat16")])
def test_recomputed_blocks(name, policy):
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        encoder = build_encoder(model_pb2.BackboneOptions(name=name, drop_path_keep_prob=0.5), NormSpec())
        encoder(tf.zeros([1, 33, 33, 3]))
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
    for variable in encoder.variables:
        if "gamma" in variable.name:  # the last ones of residual blocks are 0 at first, and stop gradients
            variable.assign(tf.ones_like(variable))
    images = tf.random.stateless_uniform([2, 65, 65, 3], [0, 0], -1.0, 1.0)
    moving = [v for v in encoder.variables if "moving_" in v.name]
    initial = [v.numpy() for v in moving]
    results = []
    for recompute in (False, True):
        for variable, value in zip(moving, initial):
            variable.assign(value)
        results.append((*_pass(encoder, images, recompute), [v.numpy() for v in moving]))
    (features, gradients, statistics), (again, again_gradients, again_statistics) = results
    for stage, ours, theirs in zip(FEATURES, again, features, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=stage)
    for variable, start, ours, theirs in zip(moving, initial, again_statistics, statistics, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7, err_msg=variable.name)
        assert not np.array_equal(ours, start)
    norms = [float(tf.norm(gradient)) for gradient in gradients]
    assert [v.name for v, norm in zip(encoder.trainable_variables, norms) if not norm] == []
    for variable, ours, theirs, norm in zip(encoder.trainable_variables, again_gradients, gradients, norms, strict=True):
        assert float(tf.norm(ours - theirs)) <= 1e-3 * norm + 1e-7, variable.name


def test_programs_of_xla_compute_a_block_again():
    """Where XLA may take both computations of a block for the same, it merges them: on TPUs, nothing would be saved."""
    weights = tf.Variable(tf.random.stateless_normal([3, 3], [1, 2]))

    def block(x: tf.Tensor, training: bool) -> tf.Tensor:
        return tf.tanh(x @ weights)

    def gradient(x: tf.Tensor, recompute: bool) -> tf.Tensor:
        with random_stream(tf.constant([1, 2])), recomputed_blocks(recompute):
            return tf.gradients(tf.reduce_sum(tf.square(run_block(block, x, True))), weights)[0]

    x = tf.random.stateless_normal([5, 3], [3, 4])
    plain = tf.function(gradient, autograph=False)(x, False)
    for recompute in (False, True):
        compiled = tf.function(gradient, autograph=False, jit_compile=True)
        np.testing.assert_allclose(compiled(x, recompute), plain, rtol=1e-5, atol=1e-6)
        program = compiled.experimental_get_compiler_ir(x, recompute)(stage="hlo")
        assert program.count(" opt-barrier(") == recompute

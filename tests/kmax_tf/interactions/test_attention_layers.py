"""Interactions with attention against NumPy versions of their formulas."""

import numpy as np
import pytest
import tensorflow as tf
from example_configs import make_images, make_targets, small_config

from kmax_tf import build_loss, build_model
from kmax_tf.checkpoints.variable_names import named_variables
from kmax_tf.interactions.attention import Attention
from kmax_tf.interactions.cross_attention import CrossAttentionLayer
from kmax_tf.interactions.dual_path import DualPathCrossAttentionLayer, DualPathKMeansLayer
from kmax_tf.interactions.kmeans import kmeans_update
from kmax_tf.kmax_decoder import KMaXDecoder
from kmax_tf.layers.normalization import NormSpec

NORM = NormSpec(epsilon=0.0)
HEADS, E, C, N, HEIGHT, WIDTH = 8, 32, 24, 5, 3, 4
INTERACTIONS = ("CROSS_ATTENTION", "DUAL_PATH_CROSS_ATTENTION", "DUAL_PATH_KMEANS")


def random_array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def gelu(x):
    return tf.nn.gelu(x).numpy()


def attend(query, key, value):
    """Attention by loops over images, heads and queries; a new batch norm does nothing in inference."""
    output = np.zeros([*query.shape[:2], value.shape[-1]])
    narrow, wide = key.shape[-1] // HEADS, value.shape[-1] // HEADS
    for image, position, head in np.ndindex(*query.shape[:2], HEADS):
        keys = key[image, :, narrow * head : narrow * (head + 1)]
        weights = np.exp(keys @ query[image, position, narrow * head : narrow * (head + 1)])
        output[image, position, wide * head : wide * (head + 1)] = (
            weights @ value[image, :, wide * head :][:, :wide] / weights.sum()
        )
    return gelu(output)


def layer_of(kind, *, deep_supervision=True):
    """A layer that has been built, with the last norm of each branch set to 1, with its weights by name."""
    options = small_config().model_options.max_deeplab
    options.deep_supervision = deep_supervision
    layer = kind(options, 6, NORM)
    layer(random_array(1, HEIGHT, WIDTH, C), random_array(1, N, E))
    weights = named_variables(layer)
    for name in weights:
        if name.endswith("gamma"):
            weights[name].assign(tf.ones_like(weights[name]))
    return layer, {name: variable.numpy() for name, variable in weights.items()}


def projections(weights, pixels, centers):
    """The function product(x, name of a projection), and the projected pixels and centers."""

    def product(x, name):
        return x @ weights[f"{name}/dense/kernel"]

    return product, gelu(product(gelu(pixels).reshape(2, -1, C), "project_pixels")), gelu(product(centers, "project_centers"))


def test_attention_against_loops():
    query, key, value = random_array(2, 5, 16), random_array(2, 7, 16, seed=1), random_array(2, 7, 32, seed=2)
    np.testing.assert_allclose(Attention(NORM)(query, key, value), attend(query, key, value), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("deep_supervision", [True, False])
def test_cross_attention_has_one_softmax_over_pixels_and_centers(deep_supervision):
    layer, weights = layer_of(CrossAttentionLayer, deep_supervision=deep_supervision)
    pixels, centers = random_array(2, HEIGHT, WIDTH, C), random_array(2, N, E, seed=1)
    same_pixels, updated, prediction = layer(pixels, centers)
    product, pixel_space, center_space = projections(weights, pixels, centers)
    query, center_key, center_value = np.split(product(center_space, "query_key_value"), [E // 2, E], -1)
    pixel_key, pixel_value = np.split(product(pixel_space, "pixel_key_value"), [E // 2], -1)
    key, value = np.concatenate([pixel_key, center_key], 1), np.concatenate([pixel_value, center_value], 1)
    middle = gelu(centers + product(attend(query, key, value), "attention_output"))
    expected = gelu(middle + product(gelu(product(middle, "ffn_hidden")), "ffn_output"))
    np.testing.assert_allclose(updated, expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(same_pixels, pixels)
    assert (prediction is not None) == deep_supervision == any("predictor/" in name for name in weights)


@pytest.mark.parametrize("kind", [DualPathCrossAttentionLayer, DualPathKMeansLayer])
def test_pixels_attend_to_the_old_centers(kind):
    layer, weights = layer_of(kind)
    pixels, centers = random_array(2, HEIGHT, WIDTH, C), random_array(2, N, E, seed=1)
    updated_pixels, _, _ = layer(pixels, centers)
    product, pixel_space, center_space = projections(weights, pixels, centers)
    _, key, value = np.split(product(center_space, "query_key_value"), [E // 2, E], -1)
    retrieved = attend(product(pixel_space, "pixel_attention/query"), key, value)
    update = product(retrieved, "pixel_attention/output_projection").reshape(pixels.shape)
    np.testing.assert_allclose(updated_pixels, pixels + update, rtol=2e-3, atol=2e-3)


def test_dual_path_updates_the_centers_by_kmeans():
    """Without attention between the centers, only the k-means step and the feed-forward network remain."""
    layer, weights = layer_of(DualPathKMeansLayer)
    variables = named_variables(layer)
    variables["attention_output/norm/gamma"].assign(tf.zeros(E))
    pixels, centers = random_array(2, HEIGHT, WIDTH, C), random_array(2, N, E, seed=1)
    _, updated, prediction = layer(pixels, centers)
    pixel_space = gelu(gelu(pixels).reshape(2, -1, C) @ weights["project_pixels/dense/kernel"])
    update = kmeans_update(prediction["pixel_space_mask_logits"], pixel_space @ weights["pixel_value/dense/kernel"])
    middle = gelu(centers + update.numpy() @ weights["update_output/dense/kernel"])
    hidden = gelu(middle @ weights["ffn_hidden/dense/kernel"])
    np.testing.assert_allclose(updated, gelu(middle + hidden @ weights["ffn_output/dense/kernel"]), rtol=2e-3, atol=2e-3)


def test_updated_pixels_pass_to_the_next_layer_of_the_same_stride(monkeypatch):
    options = small_config(["model_options.max_deeplab.interaction=DUAL_PATH_KMEANS"]).model_options.max_deeplab
    options.num_decoders[:] = [2, 1, 0]
    decoder = KMaXDecoder(options, 6, NORM)
    seen = []
    original = DualPathKMeansLayer.call

    def call(self, pixels, centers, training=False):
        outputs = original(self, pixels, centers, training)
        seen.append((np.asarray(pixels), outputs[0].numpy()))
        return outputs

    monkeypatch.setattr(DualPathKMeansLayer, "call", call)
    features = [random_array(2, 2, 3, C), random_array(2, 3, 5, C)]
    decoder(features, training=True)
    for name, variable in named_variables(decoder).items():
        if name.endswith("pixel_attention/output_projection/norm/gamma"):
            variable.assign(tf.ones_like(variable))
    seen.clear()
    decoder(features, training=True)
    (first, updated), (second, _), (third, _) = seen
    assert np.abs(updated - first).max() > 0.1
    np.testing.assert_array_equal(second, updated)
    np.testing.assert_array_equal(third, features[1])


@pytest.mark.parametrize("interaction", INTERACTIONS)
@pytest.mark.parametrize("deep_supervision", ["true", "false"])
def test_every_variable_of_a_model_learns(interaction, deep_supervision):
    config = small_config(
        [
            f"model_options.max_deeplab.interaction={interaction}",
            f"model_options.max_deeplab.deep_supervision={deep_supervision}",
            "model_options.decoder.use_semantic_decoder=false",
            "model_options.max_deeplab.num_decoders=[2,0,0]",
        ]
    )
    model, criterion = build_model(config), build_loss(config)
    for name, variable in named_variables(model).items():
        if name.endswith("gamma"):
            variable.assign(tf.ones_like(variable))
    with tf.GradientTape() as tape:
        outputs = model(make_images(), training=True)
        losses = criterion(make_targets(), outputs)
        total = tf.reduce_sum(losses["total_loss"])
    predicts = interaction == "DUAL_PATH_KMEANS" or deep_supervision == "true"
    assert len(outputs["auxiliary_outputs"]) == (2 if predicts else 0)
    assert any(name.startswith("aux_1") for name in losses) == (deep_supervision == "true")
    variables = {name: v for name, v in named_variables(model).items() if v.trainable and name.startswith("kmax_decoder")}
    assert {id(v) for v in variables.values()} == {id(v) for v in model.kmax_decoder.trainable_variables}
    gradients = dict(zip(variables, tape.gradient(total, list(variables.values()))))
    idle = {name for name, gradient in gradients.items() if gradient is None or not np.abs(gradient).max() > 0}
    # A softmax removes what is added to all of its inputs.
    idle = {name for name in idle if not name.endswith("predictor/mask_norm/beta")}
    # The assignment of a pixel has no gradient, and no layer reads the pixels that the last one of a stride updates.
    unsupervised = deep_supervision == "false" and interaction == "DUAL_PATH_KMEANS"
    expected = {n for n in variables if "/1/pixel_attention/" in n or (unsupervised and "predictor/" in n)}
    assert idle == {name for name in expected if not name.endswith("predictor/mask_norm/beta")}

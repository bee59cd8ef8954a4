import numpy as np
import pytest
import tensorflow as tf
from example_configs import small_config

from kmax_tf.interactions.kmeans import KMeansLayer, kmeans_update
from kmax_tf.kmax_decoder import KMaXDecoder
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.randomness import random_stream


def random_tensor(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


def test_kmeans_update_sums_the_values_of_each_slots_pixels():
    logits, values = random_tensor(2, 3, 4, 5), random_tensor(2, 12, 6, seed=1)
    expected = np.zeros((2, 5, 6))
    for image in range(2):
        for pixel, slot in enumerate(logits.numpy()[image].reshape(12, 5).argmax(-1)):
            expected[image, slot] += values[image, pixel]
    np.testing.assert_allclose(kmeans_update(logits, values), expected, rtol=1e-5, atol=1e-6)


def test_kmeans_update_assigns_ties_to_the_first_slot():
    values = random_tensor(1, 6, 2)
    update = kmeans_update(tf.zeros([1, 2, 3, 4]), values).numpy()
    np.testing.assert_allclose(update[0, 0], values.numpy()[0].sum(0), rtol=1e-5)
    np.testing.assert_array_equal(update[0, 1:], 0)


def test_kmeans_update_has_gradients_only_for_values():
    logits, values = random_tensor(2, 3, 4, 5), random_tensor(2, 12, 6, seed=1)
    upstream = random_tensor(2, 5, 6, seed=2)
    with tf.GradientTape() as tape:
        tape.watch([logits, values])
        total = tf.reduce_sum(kmeans_update(logits, values) * upstream)
    by_logits, by_values = tape.gradient(total, [logits, values])
    assert by_logits is None
    slots = logits.numpy().reshape(2, 12, 5).argmax(-1)
    expected = np.stack([upstream.numpy()[image][slots[image]] for image in range(2)])
    np.testing.assert_allclose(by_values, expected, rtol=1e-6)


@pytest.mark.parametrize("keep", [1.0, 0.4])
def test_a_new_layer_does_not_change_the_centers(keep):
    """The last norms of the three branches start at zero, so a new layer only applies gelu twice."""
    options = small_config([f"model_options.max_deeplab.transformer_decoder_drop_path_keep_prob={keep}"])
    layer = KMeansLayer(options.model_options.max_deeplab, num_classes=6, norm=NormSpec())
    pixels, centers = random_tensor(2, 4, 5, 24), random_tensor(2, 8, 32, seed=1)
    _, updated, prediction = layer(pixels, centers, training=True)
    np.testing.assert_allclose(updated, tf.nn.gelu(tf.nn.gelu(centers)), rtol=1e-5, atol=1e-6)
    assert prediction["pixel_space_mask_logits"].shape == (2, 4, 5, 8)


@pytest.mark.parametrize("decoders", [(1, 0, 0), (0, 2, 1), (1, 1, 1)])
def test_decoders_read_the_feature_of_their_stride(decoders):
    options = small_config([f"model_options.max_deeplab.num_decoders={list(decoders)}"]).model_options.max_deeplab
    decoder = KMaXDecoder(options, num_classes=6, norm=NormSpec())
    sizes = [(2, 3), (3, 5), (5, 9)]
    features = [random_tensor(2, height, width, 16) for height, width in sizes]
    classes, masks, predictions = decoder(features)
    assert classes.shape == masks.shape == (2, 8, 32)
    expected = [size for size, count in zip(sizes, decoders) for _ in range(count)]
    assert [tuple(one["pixel_space_mask_logits"].shape[1:3]) for one in predictions] == expected


def test_layers_are_those_that_are_registered_for_the_interaction_of_the_config(monkeypatch):
    class Other(KMeansLayer):
        pass

    options = small_config(["model_options.max_deeplab.interaction=KMEANS"]).model_options.max_deeplab
    options.num_decoders[:] = [1, 0, 2]
    assert [type(layer) for stage in KMaXDecoder(options, 6, NormSpec()).stages for layer in stage] == 3 * [KMeansLayer]
    tables = {("kmax_tf.interactions", "INTERACTIONS"): {"KMEANS": Other}}
    monkeypatch.setattr("kmax_tf.kmax_decoder.registered", lambda *table: tables[table])
    assert [type(layer) for stage in KMaXDecoder(options, 6, NormSpec()).stages for layer in stage] == 3 * [Other]


def test_drop_query_samples_new_slots_in_each_step_and_uses_all_at_inference():
    overrides = [f"model_options.max_deeplab.{field}" for field in ("num_dropped_mask_slots=5", "num_decoders=[1,0,0]")]
    decoder = KMaXDecoder(small_config(overrides).model_options.max_deeplab, num_classes=6, norm=NormSpec())
    features = [random_tensor(2, 2, 3, 16)]
    masks = decoder(features)[1]
    assert masks.shape == (2, 8, 32)
    table = [tuple(center) for center in decoder.cluster_centers.numpy()[0]]
    drawn = []
    for step in range(20):
        with random_stream(tf.constant([7, step])):
            centers = decoder._initial_centers(training=True).numpy()[0]
        drawn.append([table.index(tuple(center)) for center in centers])
        assert drawn[-1] == sorted(set(drawn[-1])) and len(drawn[-1]) == 3
    assert len(set(map(tuple, drawn))) > 10 and {slot for slots in drawn for slot in slots} == set(range(8))
    with random_stream(tf.constant([7, 3])):
        classes, masks, predictions = decoder(features, training=True)
    assert classes.shape == masks.shape == (2, 3, 32) and predictions[0]["pixel_space_mask_logits"].shape[-1] == 3


def test_dropped_slots_have_no_gradient():
    options = small_config(["model_options.max_deeplab.num_dropped_mask_slots=5"]).model_options.max_deeplab
    decoder = KMaXDecoder(options, num_classes=6, norm=NormSpec())
    features = [random_tensor(2, 2, 3, 16)]
    decoder(features)
    with random_stream(tf.constant([1, 2])), tf.GradientTape() as tape:
        classes, _, _ = decoder(features, training=True)
        total = tf.reduce_sum(tf.sin(classes))
    gradient = tf.convert_to_tensor(tape.gradient(total, decoder.cluster_centers)).numpy()[0]
    assert np.count_nonzero(np.abs(gradient).sum(-1)) == 3

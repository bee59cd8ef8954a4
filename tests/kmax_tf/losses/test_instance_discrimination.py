import numpy as np
import tensorflow as tf

from kmax_tf.losses.ground_truth import GroundTruth
from kmax_tf.losses.instance_discrimination import draw_pixels, pixel_contrast
from kmax_tf.randomness import random_stream


def make_truth(row_of_pixel, labeled, batch=1):
    """Rows of one image, repeated over a batch."""
    rows = int(np.max(row_of_pixel)) + 1
    row_of_pixel = tf.repeat(tf.constant([row_of_pixel], tf.int32), batch, 0)
    area = tf.reduce_sum(tf.one_hot(row_of_pixel, rows), 1)
    return GroundTruth(
        row_of_pixel=row_of_pixel,
        labeled=tf.repeat(tf.constant([labeled], tf.float32), batch, 0),
        thing=tf.ones(row_of_pixel.shape),
        area=area,
        exists=area > 0,
        row_class=tf.zeros(area.shape, tf.int32),
    )


def test_pixels_are_sampled_by_the_inverse_area_of_their_mask():
    truth = make_truth([0] * 2 + [1] * 8 + [-1] * 6, [1] * 10 + [0] * 6, batch=20000)
    with random_stream(tf.constant([1, 2])):
        first = draw_pixels(truth, 1, 1.5).numpy()[:, 0]
    weights = np.array([16 / 2] * 2 + [16 / 8] * 8) ** 1.5
    share = np.bincount(first, minlength=16) / len(first)
    # Five standard deviations of a fraction.
    np.testing.assert_allclose(share[:10], weights / weights.sum(), atol=5 * np.sqrt(0.25 / len(first)))
    assert (share[10:] == 0).all()


def test_no_pixel_is_sampled_twice_and_void_comes_last():
    truth = make_truth([0] * 2 + [1] * 8 + [-1] * 6, [1] * 10 + [0] * 6, batch=100)
    with random_stream(tf.constant([3, 4])):
        chosen = draw_pixels(truth, 12, 0.6).numpy()
    assert all(len(set(image)) == 12 for image in chosen)
    assert all(set(range(10)) <= set(image) for image in chosen)


def test_samples_depend_only_on_the_seed():
    truth = make_truth([0] * 40 + [1] * 60, [1] * 100)
    features = tf.math.l2_normalize(tf.random.stateless_normal([1, 100, 5], [0, 0]), -1)

    def loss(seed):
        with random_stream(tf.constant(seed)):
            return pixel_contrast(truth, features, 10, 1.5).numpy()[0]

    assert loss([5, 6]) == loss([5, 6])
    assert loss([5, 6]) != loss([5, 7])


def test_contrast_of_all_pixels_equals_numpy():
    rows = np.array([0, 0, 0, 1, 1, 2, -1, -1])
    features = np.random.default_rng(0).standard_normal((8, 4))
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    expected = []
    for i in range(8):
        if rows[i] >= 0:
            similarity = features @ features[i] / 0.3
            log_probability = similarity - np.log(np.exp(similarity).sum())
            expected.append(-log_probability[rows == rows[i]].mean())
    truth = make_truth(rows, (rows >= 0).astype(int))
    loss = pixel_contrast(truth, tf.constant(features[None], tf.float32), 8, 1.5)
    np.testing.assert_allclose(loss.numpy(), [np.mean(expected)], rtol=1e-5)


def test_gradient_pushes_void_pixels_away_from_all_others():
    """As in the published implementation: softmax - target for every pixel, although void pixels have no target and no loss."""
    row = np.array([0, 0, 1, 1, 1, -1, -1])
    features = np.random.default_rng(0).standard_normal((7, 4))
    truth = make_truth(row, (row >= 0).astype(np.float32))
    with tf.GradientTape() as tape:
        variable = tf.constant(features[None], tf.float32)
        tape.watch(variable)
        loss = pixel_contrast(truth, variable, samples=7, area_exponent=1.5)
    similarity = features @ features.T / 0.3
    softmax = np.exp(similarity) / np.exp(similarity).sum(1, keepdims=True)
    same = (row[:, None] == row) & (row >= 0)[:, None]
    target = same / np.maximum(same.sum(1, keepdims=True), 1)
    np.testing.assert_allclose(loss[0], -(target * np.log(softmax)).sum() / 5, rtol=1e-5)
    by_similarity = (softmax - target) / 5 / 0.3
    np.testing.assert_allclose(tape.gradient(loss, variable)[0], (by_similarity + by_similarity.T) @ features, rtol=1e-4)

"""Random preprocessing against the same steps on the whole image, in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from panoptic_fixtures import random_panoptic

from data.input import augmentation, autoaugment
from data.input.preprocessing_options import preprocessing
from protos import dataset_pb2

_PADDING = 77


def _resize(values, size, nearest):
    """Corner-aligned resize of [h, w, c]."""
    positions = [np.arange(m) * (n - 1) / max(m - 1, 1) for n, m in zip(values.shape[:2], size, strict=True)]
    if nearest:
        rows, columns = (np.floor(p + 0.5).astype(int) for p in positions)
        return values[rows][:, columns]
    values = values.astype(np.float64)
    for axis, position in enumerate(positions):
        low = np.minimum(np.floor(position).astype(int), values.shape[axis] - 1)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
        fraction = (position - low).reshape(shape)
        values = np.take(values, low, axis) * (1 - fraction) + np.take(values, high, axis) * fraction
    return values


def _augment(image, label, u, options):
    crop = augmentation.random_crop(tf.shape(label), u, options, options.jitter)
    return augmentation.augment_image(image, crop, u, options.policy), augmentation.augment_label(label, crop, _PADDING)


def _reference(image, label, u, crop, resized, scale, policy):
    """The steps with sizes, position and flip computed from the random numbers u by the published rules."""
    size = tuple(int(np.float32(side) * np.float32(scale)) for side in resized)
    image = _resize(_resize(image, resized, False), size, False)
    label = _resize(_resize(label[..., None], resized, True), size, True)
    if policy:
        choices = autoaugment.draw(tf.constant(u[4:]), policy)
        image = autoaugment.augment(
            tf.constant(image.astype(np.uint8)), choices, tf.constant(size[0] * size[1]), policy
        ).numpy()
    for axis in range(2):
        margin = crop[axis] - size[axis]
        if margin > 0:
            before = int(u[1 + axis] * margin)
            width = [(0, 0)] * 3
            width[axis] = (before, margin - before)
            image = np.pad(image.astype(np.float64), width, constant_values=127.5)
            label = np.pad(label, width, constant_values=_PADDING)
        else:
            start = int(u[1 + axis] * (1 - margin))
            image = np.take(image, range(start, start + crop[axis]), axis)
            label = np.take(label, range(start, start + crop[axis]), axis)
    if u[3] < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    return image, label[..., 0]


@pytest.mark.parametrize("policy", ["", 'autoaugment_policy_name: "simple_classification_policy"'])
def test_against_whole_image_steps(policy):
    text = f"""crop_size: [49, 65] min_resize_value: 49 max_resize_value: 49
      augmentations {{ min_scale_factor: 0.5 max_scale_factor: 2 scale_factor_step_size: 0.5 {policy} }}"""
    options = preprocessing(text_format.Parse(text, dataset_pb2.DatasetOptions()))
    rng = np.random.default_rng(0)
    # A smooth image, so that a rounding difference before the cast to uint8 stays small.
    image = _resize(rng.integers(0, 256, (5, 6, 3)), (30, 40), False).astype(np.uint8)
    label = random_panoptic(rng, 30, 40)
    augment = tf.function(lambda u: _augment(tf.constant(image), tf.constant(label), u, options), autograph=False)
    for number in range(24):
        u = rng.random(augmentation.NUM_DRAWS).astype(np.float32)
        scale = np.float32([0.5, 1.0, 1.5, 2.0])[int(u[0] * 4)]
        made_image, made_label = (value.numpy() for value in augment(tf.constant(u)))
        expected_image, expected_label = _reference(image, label, u, (49, 65), (36, 49), scale, options.policy)
        np.testing.assert_array_equal(made_label, expected_label, err_msg=str(number))
        difference = np.abs(made_image - expected_image)
        if policy:
            # The cast to uint8 may differ by one on a few pixels, which Equalize and Sharpness amplify.
            assert (difference > 1).mean() < 0.01 and difference.mean() < 0.2, number
        else:
            assert difference.max() < 5e-3, number


def test_every_position_in_a_larger_image_is_drawn():
    options = preprocessing(text_format.Parse("crop_size: [4, 4]", dataset_pb2.DatasetOptions()))
    label = np.arange(49).reshape(7, 7).astype(np.int32)
    image = np.zeros((7, 7, 3), np.uint8)
    corners = set()
    for draw in np.linspace(0, 0.999, 12):
        u = tf.constant([0, draw, draw, 0.9, 0, 0, 0], tf.float32)
        _, made = _augment(image, label, u, options)
        corners.add(int(made[0, 0]))
    assert corners == {0, 8, 16, 24}


@pytest.mark.parametrize(("probability", "flips"), [(0.0, [False, False]), (1.0, [True, True]), (0.3, [True, False])])
def test_flip_probability(probability, flips):
    text = f"crop_size: [3, 4] augmentations {{ flip_probability: {probability} }}"
    options = preprocessing(text_format.Parse(text, dataset_pb2.DatasetOptions()))
    label = np.arange(12).reshape(3, 4).astype(np.int32)
    image = np.repeat(label[..., None], 3, 2).astype(np.uint8)
    for draw, flipped in zip((0.0, 0.99), flips, strict=True):
        u = tf.constant([0, 0, 0, draw, 0, 0, 0], tf.float32)
        pixels, made = _augment(image, label, u, options)
        np.testing.assert_array_equal(made, label[:, ::-1] if flipped else label)
        np.testing.assert_array_equal(pixels[..., 0], made)


def test_positions_of_a_small_image():
    """Of the five positions of 3 pixels in 7, the published code never draws the last."""
    image, label = np.full((3, 3, 3), 9, np.uint8), np.full((3, 3), 5, np.int32)
    for quirks, positions in ((True, {0, 1, 2, 3}), (False, {0, 1, 2, 3, 4})):
        proto = dataset_pb2.DatasetOptions(crop_size=[7, 7], reference_quirks=quirks)
        options = preprocessing(proto)
        seen = set()
        for draw in np.linspace(0, 0.9999, 30):
            u = tf.constant([0, draw, 0, 0.9, 0, 0, 0], tf.float32)
            pixels, made = _augment(image, label, u, options)
            seen.add(int(np.flatnonzero(made.numpy()[:, 0] == 5)[0]))
            np.testing.assert_array_equal(pixels.numpy()[..., 0] == 127.5, made.numpy() == _PADDING)
        assert seen == positions


def test_summary_of_a_crop():
    proto = text_format.Parse(
        "crop_size: [4, 9] augmentations { min_scale_factor: 2 max_scale_factor: 2 }", dataset_pb2.DatasetOptions()
    )
    options = preprocessing(proto)
    crop = augmentation.random_crop(tf.constant([4, 3]), tf.constant([0, 0.99, 0.99, 0.1, 0, 0, 0]), options, options.jitter)
    np.testing.assert_array_equal(crop.summary(), [2, 4, -2, 1])

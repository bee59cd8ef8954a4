"""Sizes and resampling against published numbers and TensorFlow's own resize, and crops against the whole image."""

import numpy as np
import pytest
import tensorflow as tf

from data.input import resampling
from kmax_tf.prediction.placement import InputSize


def _range_size(height, width, low, high, factor=None, quirks=True):
    limits = InputSize((1, 1), low and (low, low), high and (high, high), factor, quirks)
    size = resampling.range_size(tf.constant(height), tf.constant(width), limits)
    return tuple(int(side) for side in size)


@pytest.mark.parametrize(
    ("source", "side", "expected"),
    [
        ((480, 640), 1281, (960, 1281)),
        ((427, 640), 1281, (854, 1281)),
        ((640, 480), 1281, (1281, 960)),
        ((333, 500), 1281, (853, 1281)),
        ((512, 683), 641, (480, 641)),
        ((1024, 2048), 641, (320, 641)),
        ((321, 640), 641, (321, 640)),
    ],
)
def test_sizes_of_the_published_code(source, side, expected):
    assert _range_size(*source, side, side) == expected


def test_float32_rounding_of_the_published_code():
    short = sum(_range_size(height, 640, 641, 641)[1] == 640 for height in range(200, 641))
    assert short == 9


def test_exact_sizes_without_the_quirks():
    for height in range(200, 641):
        assert _range_size(height, 640, 641, 641, quirks=False) == (height * 641 // 640, 641)
        assert _range_size(640, height, 641, 641, quirks=False) == (641, height * 641 // 640)
    assert _range_size(1024, 2048, 641, 641, quirks=False) == (320, 641)
    assert _range_size(20, 30, None, 50, quirks=False) == (20, 30)


def test_sizes_without_lower_or_upper_bound():
    assert _range_size(1024, 2048, None, None) == (1024, 2048)
    assert _range_size(100, 60, None, 50) == (50, 30)
    assert _range_size(20, 30, None, 50) == (20, 30)
    assert _range_size(20, 30, 40, None) == (40, 60)
    assert _range_size(20, 30, 40, None, factor=32) == (65, 65)
    assert _range_size(33, 65, None, None, factor=32) == (33, 65)
    # The upper bound is lowered to 641 first, so that sides rounded up do not exceed it.
    assert _range_size(1000, 900, None, 650, factor=32) == (641, 577)


def _tensors(sizes):
    return [tuple(tf.constant(side) for side in size) for size in sizes]


def _resample_label(label, sizes, window=None):
    rows, columns = (
        resampling.nearest([tf.constant(size[a]) for size in sizes], tf.range(*(window[a] if window else (0, sizes[-1][a]))))
        for a in range(2)
    )
    return resampling.take(tf.constant(label), rows, columns)


def test_golden_evaluation_preprocessing():
    image = np.random.RandomState(4).randint(0, 256, (48, 64, 3)).astype(np.uint8)
    label = np.random.RandomState(5).randint(0, 5, (48, 64)).astype(np.int32) * 256
    size = _range_size(48, 64, 129, 129)
    resized = resampling.resize_image(tf.constant(image), _tensors([size])).numpy()
    assert resized.shape == (96, 129, 3)
    assert resized.sum(dtype=np.float64) == pytest.approx(4740936.918, abs=0.01)
    np.testing.assert_allclose(resized[0, :3, 0], [122.0, 158.9140625, 195.828125], atol=1e-4)
    np.testing.assert_allclose(resized[50, 60], [156.597153, 121.495102, 67.893036], atol=1e-4)
    assert _resample_label(label, [(48, 64), size]).numpy().sum() == 6249472


def _resize(values, size, method):
    return tf.compat.v1.image.resize(values, size, method=method, align_corners=True)


@pytest.mark.parametrize(
    "sizes", [[(20, 31), (45, 70), (33, 51)], [(20, 31), (9, 14), (14, 21)], [(20, 31), (1, 40)], [(7, 5)]]
)
def test_steps_agree_with_the_resize_of_tensorflow(sizes):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*sizes[0], 3), dtype=np.uint8)
    label = rng.integers(0, 1000, sizes[0]).astype(np.int32)
    whole_image, whole_label = tf.constant(image, tf.float32)[None], tf.constant(label)[None, ..., None]
    for size in sizes[1:]:
        whole_image = _resize(whole_image, size, tf.image.ResizeMethod.BILINEAR)
        whole_label = _resize(whole_label, size, tf.image.ResizeMethod.NEAREST_NEIGHBOR)
    made = resampling.resize_image(tf.constant(image), _tensors(sizes[1:]))
    assert made.dtype == tf.float32
    np.testing.assert_array_equal(made, whole_image[0])
    height, width = sizes[-1]
    for window in ([(0, height), (0, width)], [(height // 3, height // 2 + 1), (width // 4, width - 1)]):
        (top, bottom), (left, right) = window
        expected = whole_label[0, top:bottom, left:right, 0]
        np.testing.assert_array_equal(_resample_label(label, sizes, window), expected)

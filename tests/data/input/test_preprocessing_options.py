"""Preprocessing options: the published scale factors and defaults."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format

from data.input.preprocessing_options import preprocessing
from kmax_tf.prediction.placement import InputSize
from protos import dataset_pb2


def _read(text):
    return preprocessing(text_format.Parse(text, dataset_pb2.DatasetOptions()))


def _evaluated(text):
    return InputSize.from_options(text_format.Parse(text, dataset_pb2.DatasetOptions()))


@pytest.mark.parametrize(
    ("scales", "main", "pasted"),
    [
        ((0.3, 1.7, 0.1), np.arange(3, 18) / 10, np.linspace(0.15, 0.85, 8)),
        # 15 values of 0.107 instead of 16 of 0.1, as in the published code.
        ((0.5, 2.0, 0.1), np.linspace(0.5, 2.0, 15), np.linspace(0.25, 1.0, 8)),
    ],
)
def test_scale_factors_of_the_published_configs(scales, main, pasted):
    low, high, step = scales
    options = _read(
        f"crop_size: [65, 65] augmentations {{ min_scale_factor: {low} max_scale_factor: {high} scale_factor_step_size: {step} "
        "panoptic_copy_paste { panoptic_copy_paste_scale: 0.5 } }"
    )
    np.testing.assert_allclose(options.jitter.values, main, atol=1e-6)
    np.testing.assert_allclose(options.paste_jitter.values, pasted, atol=1e-6)
    for values in (options.jitter.values, options.paste_jitter.values):
        # Equal to tf.linspace in float32 to the last bit, which decides about a pixel of some sizes.
        ends = (tf.constant(values[0], tf.float32), tf.constant(values[-1], tf.float32))
        assert list(values) == tf.linspace(*ends, len(values)).numpy().tolist()


def test_scale_factors_without_quirks():
    for low, high, step, count in ((0.5, 2.0, 0.1, 16), (0.3, 1.7, 0.1, 15), (0.5, 2.0, 0.4, 4), (0.5, 0.6, 0.25, 1)):
        scales = f"min_scale_factor: {low} max_scale_factor: {high} scale_factor_step_size: {step}"
        values = _read(f"crop_size: [65, 65] reference_quirks: false augmentations {{ {scales} }}").jitter.values
        np.testing.assert_allclose(values, low + step * np.arange(count), atol=1e-6)


def test_scale_without_steps_is_continuous():
    options = _read("crop_size: [65, 65] augmentations { min_scale_factor: 0.5 max_scale_factor: 2 scale_factor_step_size: 0 }")
    assert (options.jitter.lowest, options.jitter.highest, options.jitter.values) == (0.5, 2.0, ())


def test_defaults():
    options = _read("crop_size: [65, 97]")
    assert (options.size, options.policy) == (InputSize((65, 97)), None)
    assert (options.jitter.values, options.paste_jitter, options.flip_probability) == ((1.0,), None, 0.5)
    assert _evaluated("crop_size: [65, 97]").max_size == (65, 97)
    assert _read("crop_size: [65, 97] min_resize_value: 0 max_resize_value: [60, 90]").size.max_size == (60, 90)
    assert _read("crop_size: [65, 97] min_resize_value: 33").size.min_size == (33, 33)
    assert _read("crop_size: [65, 97] augmentations { panoptic_copy_paste {} }").paste_jitter is None


@pytest.mark.parametrize("values", ["0", "[0, 0]", "[41, 0]", "[0, 41]"])
def test_zero_for_either_side_means_no_limit(values):
    text = f"crop_size: [65, 97] min_resize_value: {values} max_resize_value: {values}"
    assert (_read(text).size.min_size, _read(text).size.max_size) == (None, None)
    assert (_evaluated(text).min_size, _evaluated(text).max_size) == (None, (65, 97))


def test_sides_are_rounded_if_a_resize_field_is_set():
    assert _read("crop_size: [65, 97] resize_factor: 32").size.factor is None
    assert _read("crop_size: [65, 97] resize_factor: 32 max_resize_value: 0").size.factor == 32
    assert _evaluated("crop_size: [65, 97] resize_factor: 32").factor == 32

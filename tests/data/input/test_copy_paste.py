"""Checks panoptic copy-paste pixel by pixel against its rules."""

import numpy as np
import pytest
import tensorflow as tf
from panoptic_fixtures import INFO, random_panoptic

from data.input import copy_paste
from data.records import segment_codes
from data.records.label_map import from_panoptic
from protos import dataset_pb2

_PADDING = -1  # in the maps of these tests


def _options(thing, stuff, void):
    return dataset_pb2.PanopticCopyPasteOptions(
        panoptic_copy_paste_thing_option=thing,
        panoptic_copy_paste_stuff_option=stuff,
        panoptic_copy_paste_void_option=void,
    )


def _codes(panoptic):
    """Codes of a map, where padding has the number after the last segment, and the codes of its segments."""
    codes, segments = segment_codes.encode(from_panoptic(np.where(panoptic == _PADDING, panoptic.max(), panoptic)), INFO)
    return np.where(panoptic == _PADDING, segment_codes.void_code(INFO, len(segments)), codes), segments


def _paste(options, seed=0):
    rng = np.random.default_rng(seed)
    base, second = random_panoptic(rng, 40, 48), random_panoptic(rng, 40, 48)
    second[:, :9] = _PADDING
    images = [tf.fill([40, 48, 3], value) for value in (10.0, 20.0)]
    (base_codes, base_segments), (paste_codes, paste_segments) = _codes(base), _codes(second)
    image, codes = copy_paste.paste(
        (images[0], tf.constant(base_codes, tf.int32)),
        (images[1], tf.constant(paste_codes, tf.int32)),
        (tf.constant(base_segments), tf.constant(paste_segments)),
        tf.constant([seed, 5], tf.int64),
        options,
        INFO,
    )
    pasted = image.numpy()[..., 0] == 20
    np.testing.assert_array_equal(image.numpy(), np.where(pasted, np.float32(20), np.float32(10))[..., None].repeat(3, -1))
    # Classes do not change; the segments of both images have different numbers.
    np.testing.assert_array_equal(segment_codes.class_ids(codes), np.where(pasted, second, base) // 256)
    numbers = segment_codes.segment_numbers(codes).numpy()
    assert set(numbers[pasted]) <= set(len(base_segments) + np.arange(len(paste_segments)))
    np.testing.assert_array_equal(numbers[~pasted], np.unique(base, return_inverse=True)[1].reshape(base.shape)[~pasted])
    np.testing.assert_array_equal(
        segment_codes.is_instance(codes), np.isin(np.where(pasted, second, base) // 256, INFO.thing_ids)
    )
    assert not pasted[second == _PADDING].any()
    return pasted, second


@pytest.mark.parametrize("region", ["thing", "stuff", "void"])
def test_all_and_none_of_one_region(region):
    choices = {"thing": "none", "stuff": "none", "void": "none", region: "all"}
    pasted, second = _paste(_options(**choices))
    semantic = second // 256
    members = {"thing": np.isin(semantic, (1, 2)), "stuff": np.isin(semantic, (3, 4)), "void": second == 0}[region]
    np.testing.assert_array_equal(pasted, members)


def test_random_keeps_whole_segments_of_any_number():
    numbers = set()
    for seed in range(40):
        pasted, second = _paste(_options("random", "random", "random"), seed)
        ids = [i for i in np.unique(second) if i != _PADDING]
        shares = [pasted[second == i].mean() for i in ids]
        assert set(shares) <= {0.0, 1.0}
        numbers.add(int(sum(shares)))
        total = len(ids)
    assert {0, total} <= numbers and len(numbers) > 5


def test_only_segments_in_the_crop_are_drawn():
    """Segments outside the crop do not count: the share of images without pasted pixels is 1 / (present + 1)."""
    segments = tf.constant(segment_codes.encode(from_panoptic(np.array([[768, 1024]], np.int32)), INFO)[1])
    base = (tf.zeros([2, 2, 3]), tf.zeros([2, 2], tf.int32))
    second = (tf.ones([2, 2, 3]), tf.fill([2, 2], segments[1]))
    nothing = 0
    for seed in range(200):
        state = tf.constant([seed, 1], tf.int64)
        image, _ = copy_paste.paste(base, second, (segments[:1], segments), state, _options("random", "random", "random"), INFO)
        nothing += int(not image.numpy().any())
    assert 80 < nothing < 120


def test_options_of_the_published_configs():
    for seed in range(5):
        pasted, second = _paste(_options("all", "random", "none"), seed)
        assert pasted[np.isin(second // 256, (1, 2))].all()
        assert not pasted[second == 0].any()

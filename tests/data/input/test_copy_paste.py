"""Checks panoptic copy-paste pixel by pixel against its rules."""

import numpy as np
import pytest
import tensorflow as tf
from panoptic_fixtures import INFO, random_panoptic

from data.input import copy_paste
from data.input.copy_paste import PADDING as _PADDING
from protos import dataset_pb2


def _options(thing, stuff, void):
    return dataset_pb2.PanopticCopyPasteOptions(
        panoptic_copy_paste_thing_option=thing,
        panoptic_copy_paste_stuff_option=stuff,
        panoptic_copy_paste_void_option=void,
    )


def _paste(options, seed=0):
    rng = np.random.default_rng(seed)
    base, second = random_panoptic(rng, 40, 48), random_panoptic(rng, 40, 48)
    second[:, :9] = _PADDING
    images = [tf.fill([40, 48, 3], value) for value in (10.0, 20.0)]
    image, merged = copy_paste.paste(
        (images[0], tf.constant(base)), (images[1], tf.constant(second)), tf.constant([seed, 5], tf.int64), options, INFO
    )
    pasted = image.numpy()[..., 0] == 20
    np.testing.assert_array_equal(image.numpy(), np.where(pasted, np.float32(20), np.float32(10))[..., None].repeat(3, -1))
    # The segments of both images have different numbers.
    np.testing.assert_array_equal(merged, np.where(pasted, -1 - second, base))
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
    base = (tf.zeros([2, 2, 3]), tf.zeros([2, 2], tf.int32))
    second = (tf.ones([2, 2, 3]), tf.fill([2, 2], 1024))
    nothing = 0
    for seed in range(200):
        state = tf.constant([seed, 1], tf.int64)
        image, _ = copy_paste.paste(base, second, state, _options("random", "random", "random"), INFO)
        nothing += int(not image.numpy().any())
    assert 80 < nothing < 120


def test_options_of_the_published_configs():
    for seed in range(5):
        pasted, second = _paste(_options("all", "random", "none"), seed)
        assert pasted[np.isin(second // 256, (1, 2))].all()
        assert not pasted[second == 0].any()

"""Panoptic copy-paste pixel by pixel against its rules."""

import numpy as np
import pytest
import tensorflow as tf
from panoptic_fixtures import INFO, random_panoptic

from data import copy_paste
from protos import dataset_pb2
from protos.descriptions import ConfigError

_PADDING = 1  # void is 0


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
    images = [np.full((40, 48, 3), value, np.float32) for value in (10, 20)]
    pairs = [
        (tf.constant(image), copy_paste.widen(tf.constant(label), INFO))
        for image, label in zip(images, (base, second), strict=True)
    ]
    assert copy_paste.padding_labels(INFO) == (0, _PADDING)
    image, label = copy_paste.paste(*pairs, tf.constant([seed, 5], tf.int64), options, INFO)
    pasted = image.numpy()[..., 0] == 20
    np.testing.assert_array_equal(image.numpy()[~pasted], np.float32(10))
    # Labels of both images stay apart: pasted instances lie behind all that the divisor of the dataset allows.
    wide = np.where(pasted, second, base)
    instance = wide % 256 + np.where(pasted & (wide % 256 > 0), 256, 0)
    np.testing.assert_array_equal(label, wide // 256 * 512 + instance)
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


def test_options_of_the_published_configs():
    for seed in range(5):
        pasted, second = _paste(_options("all", "random", "none"), seed)
        assert pasted[np.isin(second // 256, (1, 2))].all()
        assert not pasted[second == 0].any()


def test_choices_that_do_not_exist():
    with pytest.raises(ConfigError, match="panoptic_copy_paste_stuff_option 'some' does not exist"):
        copy_paste.check_options(_options("all", "some", "none"))

"""Segments of panoptic maps against the arithmetic of panoptic ids, and the checks of their classes."""

import numpy as np
import pytest
import tensorflow as tf
from panoptic_fixtures import INFO, encode, random_panoptic

from data.records import schema, segments
from data.records.schema import DataError
from protos.descriptions import ClassInfo, DatasetInfo

_IGNORE_255 = DatasetInfo(
    "far_void", 1000, 255, (ClassInfo(0, "road", False, 7, (0, 0, 0)), ClassInfo(1, "car", True, 9, (0, 0, 1)))
)


def _check(panoptic, info):
    """Decodes a label with its checks, and compares the facts of its segments, as they are and pasted."""
    panoptic = np.asarray(panoptic, np.int32)
    image = np.zeros((*panoptic.shape, 3), np.uint8)
    example = schema.build_example(encode(image), "png", "a", *panoptic.shape, panoptic, label_format="raw")
    decoded = schema.decode_record(example.SerializeToString(), info=info)
    np.testing.assert_array_equal(decoded.panoptic, panoptic)
    ids = tf.constant(np.unique(panoptic))
    is_instance = np.isin(ids // info.label_divisor, info.thing_ids) & (ids % info.label_divisor > 0)
    for numbers in (ids, segments.pasted(ids)):
        np.testing.assert_array_equal(segments.class_ids(numbers, info), ids // info.label_divisor)
        np.testing.assert_array_equal(segments.is_instance(numbers, info), is_instance)
    assert set(segments.pasted(ids).numpy()).isdisjoint(ids.numpy())


def test_classes_and_instances():
    for seed in range(3):
        _check(random_panoptic(np.random.default_rng(seed), 30, 40, instances=9), INFO)


def test_crowds_and_void():
    _check([[0, 256, 257], [513, 768, 0]], INFO)
    _check([[255_000, 0, 1000], [1001, 1999, 0]], _IGNORE_255)
    # DeepLab2 ignores instance ids of void.
    _check([[0, 255_003, 255_000]], _IGNORE_255)


@pytest.mark.parametrize("info", [INFO, _IGNORE_255])
@pytest.mark.parametrize("label", [-1, 5 * 256, 2000, 200_000, 254_000, 256_000, 2**30])
def test_classes_that_do_not_exist(info, label):
    semantic = label // info.label_divisor
    if 0 <= semantic < info.num_ids:
        return
    panoptic = np.zeros((4, 5), np.int32)
    panoptic[1, 2:4] = label
    with pytest.raises(DataError, match=f"class id {semantic} on 2 pixels, which is not in {info.name} .*set dataset to"):
        _check(panoptic, info)


def test_ids_far_above_the_number_of_pixels():
    info = DatasetInfo("wide", 1 << 20, 255, _IGNORE_255.classes)
    panoptic = random_panoptic(np.random.default_rng(0), 30, 40) % 2
    panoptic = panoptic * ((1 << 20) + 77)
    panoptic[:3] = 255 << 20
    _check(panoptic, info)
    with pytest.raises(DataError, match="class id 40 on 120 pixels"):
        _check(np.where(panoptic == 255 << 20, 40 << 20, panoptic), info)


def test_another_divisor_shows_as_instances_of_stuff():
    """Records with divisor 256 that are read with 1000, and vice versa."""
    with pytest.raises(
        DataError, match="instance id 257 for class id 0, which is not a thing of far_void .*another label divisor"
    ):
        _check([[257, 0], [257, 0]], _IGNORE_255)
    with pytest.raises(DataError, match="instance id 232 for class id 3, which is not a thing of toy_panoptic"):
        _check([[1000]], INFO)


def test_as_many_segments_as_pixels():
    classes = tuple(ClassInfo(i, str(i), True, i, (0, 0, 0)) for i in range(1, 3))
    info = DatasetInfo("many", 20_000, 0, classes)
    _check(20_001 + np.arange(16_900, dtype=np.int32).reshape(130, 130), info)

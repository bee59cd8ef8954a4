"""Segment codes against the arithmetic of panoptic ids."""

import numpy as np
import pytest
import tensorflow as tf
from panoptic_fixtures import INFO, random_panoptic

from data.records import segment_codes
from data.records.label_map import LabelMap, from_panoptic
from data.records.schema import DataError
from protos.descriptions import ClassInfo, DatasetInfo

_IGNORE_255 = DatasetInfo(
    "far_void", 1000, 255, (ClassInfo(0, "road", False, 7, (0, 0, 0)), ClassInfo(1, "car", True, 9, (0, 0, 1)))
)


def _check(panoptic, info):
    codes, segments = segment_codes.encode(from_panoptic(panoptic), info)
    assert codes.dtype == segments.dtype == np.int32
    np.testing.assert_array_equal(segment_codes.class_ids(codes), panoptic // info.label_divisor)
    is_instance = np.isin(panoptic // info.label_divisor, info.thing_ids) & (panoptic % info.label_divisor > 0)
    np.testing.assert_array_equal(segment_codes.is_instance(codes), is_instance)
    ids, numbers = np.unique(panoptic, return_inverse=True)
    np.testing.assert_array_equal(segment_codes.segment_numbers(codes), numbers.reshape(panoptic.shape))
    np.testing.assert_array_equal(segments, [codes[panoptic == i][0] for i in ids])


def test_class_instance_flag_and_number():
    for seed in range(3):
        _check(random_panoptic(np.random.default_rng(seed), 30, 40, instances=9), INFO)


def test_crowds_and_void_are_not_instances():
    _check(np.array([[0, 256, 257], [513, 768, 0]], np.int32), INFO)
    _check(np.array([[255_000, 0, 1000], [1001, 1999, 0]], np.int32), _IGNORE_255)
    # Instance ids of void, which DeepLab2 ignores, belong to one segment.
    codes, segments = segment_codes.encode(from_panoptic(np.array([[0, 255_003, 255_000]], np.int32)), _IGNORE_255)
    assert segment_codes.class_ids(codes).numpy().tolist() == [[0, 255, 255]]
    assert segment_codes.segment_numbers(codes).numpy().tolist() == [[0, 1, 1]] and len(segments) == 3
    codes, _ = segment_codes.encode(from_panoptic(np.array([[255_000]], np.int32)), _IGNORE_255)
    assert codes[0, 0] == segment_codes.void_code(_IGNORE_255)
    padding = segment_codes.void_code(INFO, tf.constant(7))
    assert [int(f(padding)) for f in (segment_codes.class_ids, segment_codes.segment_numbers)] == [0, 7]


@pytest.mark.parametrize("info", [INFO, _IGNORE_255])
@pytest.mark.parametrize("label", [-1, 5 * 256, 2000, 200_000, 254_000, 256_000, 2**30])
def test_classes_that_do_not_exist(info, label):
    semantic = label // info.label_divisor
    if 0 <= semantic < info.num_ids:
        return
    panoptic = np.zeros((4, 5), np.int32)
    panoptic[1, 2:4] = label
    with pytest.raises(DataError, match=f"class id {semantic} on 2 pixels, which is not in {info.name} .*set dataset to"):
        segment_codes.encode(from_panoptic(panoptic), info)


def test_ids_far_above_the_number_of_pixels():
    """The result is the same if a table of all ids would be too large."""
    info = DatasetInfo("wide", 1 << 20, 255, _IGNORE_255.classes)
    panoptic = random_panoptic(np.random.default_rng(0), 30, 40) % 2
    panoptic = panoptic * ((1 << 20) + 77)
    panoptic[:3] = 255 << 20
    _check(panoptic, info)
    with pytest.raises(DataError, match="class id 40 on 120 pixels"):
        segment_codes.encode(from_panoptic(np.where(panoptic == 255 << 20, 40 << 20, panoptic)), info)


def test_segments_in_any_order_of_ids():
    """Palettes may be unsorted and have unused colors."""
    codes, segments = segment_codes.encode(LabelMap(np.array([768, 9 * 256, 257]), np.array([[2, 0]], np.uint8)), INFO)
    assert segment_codes.class_ids(codes).numpy().tolist() == [[1, 3]]
    assert segment_codes.is_instance(codes).numpy().tolist() == [[True, False]]
    assert segment_codes.segment_numbers(codes).numpy().tolist() == [[2, 0]] and len(segments) == 3


def test_another_divisor_shows_as_instances_of_stuff():
    """Records with divisor 256 that are read with 1000, and vice versa."""
    panoptic = np.array([[3 * 256, 257], [2 * 256 + 1, 0]], np.int32)
    with pytest.raises(
        DataError, match="instance id 257 for class id 0, which is not a thing of far_void .*another label divisor"
    ):
        segment_codes.encode(from_panoptic(panoptic), _IGNORE_255)
    with pytest.raises(DataError, match="instance id 232 for class id 3, which is not a thing of toy_panoptic"):
        segment_codes.encode(from_panoptic(np.array([[1000]], np.int32)), INFO)


def test_too_many_segments():
    classes = tuple(ClassInfo(i, str(i), True, i, (0, 0, 0)) for i in range(1, 3))
    info = DatasetInfo("many", 20_000, 0, classes)
    with pytest.raises(DataError, match="has 16900 segments, more than 16383"):
        segment_codes.encode(from_panoptic(20_001 + np.arange(16_900, dtype=np.int32).reshape(130, 130)), info)

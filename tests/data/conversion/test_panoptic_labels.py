"""Conversion of COCO panoptic annotations against a loop over the segments, and all kinds of bad input."""

import numpy as np
import pytest
from panoptic_fixtures import INFO, segment

from data.conversion import image_conversion
from kmax_tf.coco_panoptic.panoptic_files import parse_segments
from protos.errors import UserError


def _panoptic_map(ids, entries, *, where="a.png", **settings):
    segments = parse_segments(entries, where).values()
    return image_conversion.panoptic_map(ids, segments, image_conversion.Settings(INFO, **settings), where=where)


def _reference(ids, segments, crowd_as_ignore):
    """The rule of the published converters: ids per class in the order of the JSON, crowds without an instance id."""
    class_of = {17: 1, 18: 2, 119: 3, 149: 4}
    panoptic = np.zeros(ids.shape, np.int32)
    seen = {1: 0, 2: 0}
    for entry in segments:
        semantic, instance = class_of[entry["category_id"]], 0
        if entry["iscrowd"]:
            semantic = 0 if crowd_as_ignore else semantic
        elif semantic in seen:
            seen[semantic] += 1
            instance = seen[semantic]
        panoptic[ids == entry["id"]] = semantic * 256 + instance
    return panoptic


@pytest.mark.parametrize("crowd_as_ignore", [True, False])
def test_against_a_loop_over_segments(crowd_as_ignore):
    rng = np.random.default_rng(0)
    numbers = 1 + rng.choice((1 << 24) - 1, 12, replace=False)
    numbers[10:] = 0
    ids = numbers[rng.integers(0, 12, (20, 30))]
    categories = [17, 119, 18, 17, 18, 149, 17, 18, 17, 17]
    segments = [
        segment(int(i), c, int((ids == i).sum()), iscrowd=int(position in (3, 7)))
        for position, (i, c) in enumerate(zip(numbers, categories, strict=False))
    ]
    panoptic, counts = _panoptic_map(ids, segments, treat_crowd_as_ignore=crowd_as_ignore)
    expected = _reference(ids, segments, crowd_as_ignore)
    np.testing.assert_array_equal(panoptic, expected)
    assert dict(counts.segments) == {1: 4, 2: 2, 3: 1, 4: 1}
    assert (counts.images, counts.crowds, counts.pixels, counts.unlabeled) == (1, 2, 600, int((expected == 0).sum()))


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([segment(7, 99, 4)], "labels/a.png: segment 7 has category_id 99"),
        ([segment(7, 17, 5)], "segment 7 covers 4 pixels of the PNG, but its area in the JSON is 5"),
        ([segment(8, 17, 3)], "segment 8 covers 0 pixels"),
        ([segment(7, 119, 4, iscrowd=1)], "segment 7 is a crowd of 'sky', which is stuff"),
        ([segment(7, 17, 4), segment(7, 17, 4)], "segment 7 is listed twice"),
        ([{"id": 7}], "segment 7 has no category_id"),
        ([], "segment 7 .4 pixels. is not in segments_info"),
        ([segment(7, 17, 4), {"id": 9, "category_id": 18}], "segment 9 covers 0 pixels of the PNG: remove it"),
        ([dict(segment(7, 17, 4), id="7a")], "a segment: id is '7a', not an integer"),
        ([dict(segment(7, 17, 4), id=None)], "a segment: id is None"),
        ([dict(segment(7, 17, 4), id=True)], "a segment: id is True"),
        ([segment(0, 17, 4)], "a segment: id is 0, .*0: pixels without a segment"),
        ([dict(segment(7, 17, 4), category_id="cat")], "segment 7: category_id is 'cat'"),
        ([dict(segment(7, 17, 4), category_id=[17])], "segment 7: category_id is .17."),
        ([dict(segment(7, 17, 4), area=None)], "segment 7: area is None"),
        ([dict(segment(7, 17, 4), iscrowd="no")], "segment 7: iscrowd is 'no', not 0 or 1"),
        ([dict(segment(7, 17, 4), score=1.5)], "segment 7: score is 1.5, not a number in .0, 1."),
    ],
)
def test_errors_name_file_and_segment(segments, message):
    with pytest.raises(UserError, match=message):
        _panoptic_map(np.full((2, 2), 7), segments, where="labels/a.png")


@pytest.mark.parametrize("first", [0, 1])
def test_a_photograph_in_the_place_of_a_label(first):
    """The first pixel has a listed id of the wrong area (1), or none of the ids is listed (0)."""
    ids = np.arange(3000).reshape(50, 60) + 1
    with pytest.raises(UserError, match="it has 3000 colors, like a photograph: is --panoptic_dir the folder of the labels?"):
        _panoptic_map(ids, [segment(1, 17, 9)][:first], where="labels/a.png")


def test_ids_are_numbers_of_any_type():
    ids = np.array([[7, 7], [8, 0]])
    numbers = [segment(7, 17, 2), segment(8, 149, 1)]
    others = [dict(numbers[0], id="7", category_id=17.0), dict(numbers[1], id=8.0, category_id="149")]
    expected = _panoptic_map(ids, numbers)
    found = _panoptic_map(ids, others)
    np.testing.assert_array_equal(found[0], [[257, 257], [1024, 0]])
    assert found[1] == expected[1]
    with pytest.raises(UserError, match="segment 7 is listed twice"):
        _panoptic_map(ids, [numbers[0], others[0], numbers[1]])


def test_more_instances_than_the_divisor_allows():
    ids = np.arange(256).reshape(16, 16) + 1
    segments = [segment(i + 1, 17, 1) for i in range(256)]
    with pytest.raises(UserError, match="segment 256 is instance 256 of 'cat'.*allows only 255"):
        _panoptic_map(ids, segments)
    ids[ids == 256] = 0
    assert _panoptic_map(ids, segments[:-1])[0].max() == 256 + 255

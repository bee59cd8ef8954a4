"""Comparison of the classes of two descriptions."""

import dataclasses

import pytest

from protos.descriptions import ClassInfo, DatasetInfo, class_difference

_OURS = DatasetInfo("pets", 256, 0, (ClassInfo(1, "cat", True, 17, (1, 2, 3)), ClassInfo(2, "sky", False, 119, (4, 5, 6))))


def _with(*classes):
    return dataclasses.replace(_OURS, name="other", classes=classes)


def test_colors_names_of_datasets_and_category_ids_do_not_count():
    same = _with(*(dataclasses.replace(c, category_id=c.id, color=(0, 0, 0)) for c in _OURS.classes))
    assert class_difference(_OURS, same) is None


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ((ClassInfo(1, "cat", True, 1, ()), ClassInfo(2, "sea", False, 2, ())), "class 2 sky (stuff) of pets is 2 sea (stuff)"),
        (
            (ClassInfo(1, "cat", False, 1, ()), ClassInfo(2, "sky", False, 2, ())),
            "class 1 cat (thing) of pets is 1 cat (stuff) in",
        ),
        ((ClassInfo(0, "cat", True, 1, ()), ClassInfo(1, "sky", False, 2, ())), "class 1 cat (thing) of pets is 0 cat (thing)"),
        ((ClassInfo(1, "cat", True, 1, ()),), "class 2 sky (stuff) of pets is not in other"),
        ((*_OURS.classes, ClassInfo(3, "sea", False, 3, ())), "class 3 sea (stuff) of other is not in pets"),
    ],
)
def test_the_first_difference_and_both_lists(classes, expected):
    text = class_difference(_OURS, _with(*classes))
    assert text.startswith(expected)
    assert "pets has 2 classes: 1 cat (thing), 2 sky (stuff); other has" in text


def test_long_lists_are_cut():
    many = tuple(ClassInfo(i, f"c{i}", True, i, ()) for i in range(1, 134))
    text = class_difference(_with(*many), _with(*many[:-1]))
    assert "class 133 c133" in text and "20 c20 (thing) and 113 more" in text and len(text) < 1000

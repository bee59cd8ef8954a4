"""The class tables of the public datasets: ids and numbers of things and stuff."""

import pytest

from protos import descriptions

# Stuff ids of ADE20K; the other 100 of 1..150 are things.
ADE20K_STUFF = (
    *(1, 2, 3, 4, 5, 6, 7, 10, 12, 14, 17, 18, 22, 26, 27, 29, 30, 35, 41, 47, 49, 52, 53, 55, 60, 61, 62, 64, 69, 78, 80, 85),
    *(92, 95, 97, 100, 101, 102, 106, 107, 110, 114, 115, 118, 123, 129, 132, 141, 142, 146),
)
CITYSCAPES_CATEGORIES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


@pytest.mark.parametrize(
    ("name", "num_ids", "ignore_label", "divisor", "things", "stuff"),
    [
        ("coco_panoptic", 134, 0, 256, tuple(range(1, 81)), tuple(range(81, 134))),
        ("cityscapes_panoptic", 19, 255, 1000, tuple(range(11, 19)), tuple(range(11))),
        ("ade20k_panoptic", 151, 0, 1000, tuple(i for i in range(1, 151) if i not in ADE20K_STUFF), ADE20K_STUFF),
    ],
)
def test_ids(name, num_ids, ignore_label, divisor, things, stuff):
    info = descriptions.load(name)
    assert info.name == name
    assert (info.num_ids, info.ignore_label, info.label_divisor) == (num_ids, ignore_label, divisor)
    assert info.thing_ids == things
    assert info.stuff_ids == stuff
    assert len({c.name for c in info.classes}) == len(info.classes)
    assert len({c.color for c in info.classes}) == len(info.classes)


def test_category_ids_of_the_datasets_own_annotations():
    assert tuple(c.category_id for c in descriptions.load("cityscapes_panoptic").classes) == CITYSCAPES_CATEGORIES
    ade20k = descriptions.load("ade20k_panoptic")
    assert [c.category_id for c in ade20k.classes] == list(range(150))
    assert {ade20k.by_id()[i].name for i in (1, 13, 21, 150)} == {"wall", "person", "car", "flag"}
    cityscapes = descriptions.load("cityscapes_panoptic").by_category()
    assert (cityscapes[26].name, cityscapes[26].color) == ("car", (0, 0, 142))

"""Descriptions created from the categories of a JSON."""

import dataclasses

import pytest
from panoptic_fixtures import INFO, segment, write_coco

from data.conversion import describe, image_lists
from data.records.schema import DataError
from kmax_tf.coco_panoptic import categories
from protos import descriptions
from protos.errors import UserError


def _content(tmp_path):
    return image_lists.read_panoptic_json(write_coco(tmp_path), tmp_path / "images", tmp_path / "panoptic")


def _info(text):
    return descriptions.from_text(text, "text")


def test_ids_follow_the_category_ids(tmp_path):
    content = _content(tmp_path)
    shuffled = dataclasses.replace(content, categories=content.categories[::-1])
    info = _info(describe.description_text("toy", shuffled, where="a.json"))
    assert [(c.id, c.name, c.is_thing, c.category_id) for c in info.classes] == [
        (1, "cat", True, 17),
        (2, "dog", True, 18),
        (3, "sky", False, 119),
        (4, "road", False, 149),
    ]
    assert (info.ignore_label, info.label_divisor) == (0, 256)
    categories.check_agreement(
        content.categories, categories.of_dataset(info), where="a.json", source="toy.textproto", advice="do this"
    )


@pytest.mark.parametrize(("instances", "divisor"), [(255, 256), (256, 512), (600, 1024)])
def test_divisor_is_large_enough_for_all_instances(tmp_path, instances, divisor):
    content = _content(tmp_path)
    crowded = dataclasses.replace(content.images[0], segments=tuple(segment(i, 17, 1) for i in range(instances)))
    content = dataclasses.replace(content, images=(crowded,))
    assert _info(describe.description_text("toy", content, where="a.json")).label_divisor == divisor
    assert _info(describe.description_text("toy", content, label_divisor=7, where="a.json")).label_divisor == 7


def test_categories_that_contradict_the_description(tmp_path):
    content = _content(tmp_path)
    other = dataclasses.replace(content.categories[0], is_thing=False)
    with pytest.raises(UserError, match="b.json: category 17 has isthing 0, but 1 in toy.textproto: do this"):
        categories.check_agreement(
            [other], categories.of_dataset(INFO), where="b.json", source="toy.textproto", advice="do this"
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": "red"}, "category 17: color is 'red'"),
        ({"color": [1, 2]}, "category 17: color is .1, 2., not three numbers"),
        ({"color": [1, 2, 256]}, "category 17: color is .1, 2, 256."),
    ],
)
def test_categories_that_cannot_be_described(tmp_path, change, message):
    content = _content(tmp_path)
    content = dataclasses.replace(
        content, categories=(dataclasses.replace(content.categories[0], **change), *content.categories[1:])
    )
    with pytest.raises(UserError, match=f"a.json: {message}"):
        describe.description_text("toy", content, where="a.json")


def test_divisors(tmp_path):
    content = _content(tmp_path)
    assert _info(describe.description_text("toy", content, label_divisor=400_000_000, where="a.json")).label_divisor
    expected = "a.json: panoptic_label_divisor 500000000 gives panoptic ids up to 2499999999, which do not fit into 32 bits"
    with pytest.raises(UserError, match=expected):
        describe.description_text("toy", content, label_divisor=500_000_000, where="a.json")
    describe.check_divisor(INFO, None, "toy.textproto")
    describe.check_divisor(INFO, 256, "toy.textproto")
    with pytest.raises(DataError, match="toy.textproto has panoptic_label_divisor 256, not 512.*delete this file"):
        describe.check_divisor(INFO, 512, "toy.textproto")


def test_stuff_needs_no_divisor(tmp_path):
    content = _content(tmp_path)
    many = dataclasses.replace(content.images[0], segments=tuple(segment(i, 119, 1) for i in range(300)))
    content = dataclasses.replace(content, images=(many,))
    assert _info(describe.description_text("toy", content, where="a.json")).label_divisor == 256

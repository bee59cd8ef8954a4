"""Differences between class tables."""

import dataclasses

from protos import descriptions
from protos.class_tables import class_difference

SCENES = descriptions.load("scenes_panoptic")


def _with(position: int, **changes) -> descriptions.DatasetInfo:
    classes = list(SCENES.classes)
    classes[position] = dataclasses.replace(classes[position], **changes)
    return dataclasses.replace(SCENES, classes=tuple(classes))


def test_dataset_names_colors_and_category_ids_do_not_count():
    assert class_difference(SCENES, SCENES) is None
    assert class_difference(SCENES, dataclasses.replace(_with(0, color=(1, 2, 3), category_id=77), name="other")) is None


def test_names_kinds_and_order_count():
    difference = class_difference(SCENES, _with(1, name="cat"))
    names = [c.name for c in SCENES.classes]
    assert difference.startswith(f"{len(names)} classes ({names[0]}, cat, {names[2]}")
    assert f"position 1: 'cat' (id {SCENES.classes[1].id}, thing) instead of '{names[1]}'" in difference
    assert "(id 1, stuff) instead of" in class_difference(SCENES, _with(0, is_thing=False))
    swapped = dataclasses.replace(SCENES, classes=SCENES.classes[::-1])
    assert "position 0" in class_difference(SCENES, swapped)


def test_a_different_number_of_classes_counts():
    shorter = dataclasses.replace(SCENES, classes=SCENES.classes[:-1])
    assert "instead of none" in class_difference(shorter, SCENES)
    assert f"position {len(shorter.classes)}: none instead of" in class_difference(SCENES, shorter)

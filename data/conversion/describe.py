"""Creates a dataset description from the categories of a COCO JSON or the classes of a table."""

import collections

from data.conversion.image_lists import LabeledImages
from data.records.schema import DataError
from kmax_tf.coco_panoptic import values
from protos import descriptions
from protos.descriptions import ClassInfo, DatasetInfo

_SMALLEST_DIVISOR = 256


def description_text(name: str, content: LabeledImages, *, label_divisor: int | None = None, where: str) -> str:
    """Text of a description: ids 1, 2, ... in the order of the category ids, ignore_label 0.

    `label_divisor` defaults to the smallest power of two, at least 256, that is large enough for the instances of every image.
    Error messages start with `where`, the file that lists the classes.

    Raises:
      UserError: a color is unusable, or the description would be invalid, as with a large divisor.
    """
    if label_divisor is None:
        label_divisor, most = _SMALLEST_DIVISOR, _most_instances(content)
        while label_divisor <= most:
            label_divisor *= 2
    classes = []
    for class_id, c in enumerate(sorted(content.categories, key=lambda c: c.id), start=1):
        color = () if c.color is None else values.value(vars(c), "color", f"{where}: category {c.id}", values.COLOR)
        classes.append(ClassInfo(class_id, c.name, c.is_thing, c.id, color or descriptions.default_color(class_id)))
    text = descriptions.to_text(DatasetInfo(name, label_divisor, 0, tuple(classes)))
    descriptions.from_text(text, where)
    return text


def _most_instances(content: LabeledImages) -> int:
    """Largest number of segments, without crowds, of one thing category in one image."""
    things = {category.id for category in content.categories if category.is_thing}
    largest = 0
    for image in content.images:
        ids = (values.whole(segment.get("category_id")) for segment in image.segments if not segment.get("iscrowd"))
        largest = max([largest, *collections.Counter(i for i in ids if i in things).values()])
    return largest


def check_divisor(info: DatasetInfo, label_divisor: int | None, description: str) -> None:
    """Raises DataError if the requested divisor is not that of the description of earlier records."""
    if label_divisor not in (None, info.label_divisor):
        raise DataError(
            f"{description} has panoptic_label_divisor {info.label_divisor}, not {label_divisor}, but all records of a dataset "
            "need the same divisor: omit --label_divisor, or delete this file and the records of all splits in its folder and "
            "convert them again"
        )

"""Makes a dataset description from the categories of a COCO panoptic JSON."""

from google.protobuf import text_format

from data.conversion.image_lists import LabeledImages
from data.records.schema import DataError
from kmax_tf.coco_panoptic import names, values
from kmax_tf.coco_panoptic.categories import Category
from protos import dataset_pb2, descriptions
from protos.descriptions import DatasetInfo

_SMALLEST_DIVISOR = 256
_INT32 = range(-(1 << 31), 1 << 31)


def description_text(name: str, content: LabeledImages, *, label_divisor: int | None = None, where: str) -> str:
    """Text of a description: ids 1, 2, ... in the order of the category ids, ignore_label 0.

    Args:
      name: of the dataset.
      content: the annotations; without `label_divisor` the divisor is the smallest power of two from 256 that tells the
        instances of every image apart.
      label_divisor: panoptic_label_divisor.
      where: file that opens every error message.

    Raises:
      DataError: there are no categories, one has a color, id or name that cannot be used, or the divisor is too large.
      ConfigError: the description would not be valid.
    """
    if not content.categories:
        raise DataError(f"{where}: categories is empty")
    if label_divisor is None:
        label_divisor = _SMALLEST_DIVISOR
        while label_divisor <= content.most_instances():
            label_divisor *= 2
    largest = (len(content.categories) + 1) * label_divisor - 1
    if largest not in _INT32:
        raise DataError(f"label divisor {label_divisor}: panoptic ids up to {largest} do not fit 32 bits; choose a smaller one")
    proto = dataset_pb2.DatasetDescription(name=name, panoptic_label_divisor=label_divisor, ignore_label=0)
    for class_id, category in enumerate(sorted(content.categories, key=lambda c: c.id), start=1):
        color = _checked_color(category, f"{where}: category {category.id}")
        proto.classes.add(id=class_id, name=category.name, is_thing=category.is_thing, category_id=category.id, color=color)
    descriptions.from_proto(proto, where)
    return text_format.MessageToString(proto, as_utf8=True)


def _checked_color(category: Category, where: str) -> tuple[int, ...]:
    """The color of a category, empty if it has none; the other values are checked too."""
    color = () if category.color is None else values.COLOR.parse(category.color)
    if color is None:
        raise DataError(f"{where} has color {category.color!r:.80}, not {values.COLOR.expected}: correct it")
    if category.id not in _INT32:
        raise DataError(f"{where}: its id does not fit 32 bits: choose another, here and in the annotations")
    if not names.is_utf8(category.name):
        raise DataError(f"{where} has a name that is no valid text ({category.name!r}): correct it")
    return color


def check_divisor(info: DatasetInfo, label_divisor: int | None, description: str) -> None:
    """Raises DataError if a divisor is asked for that a description of earlier records does not have."""
    if label_divisor not in (None, info.label_divisor):
        raise DataError(
            f"{description} has panoptic_label_divisor {info.label_divisor}, not {label_divisor}, and all records of a dataset "
            "need one divisor: leave --label_divisor out, or delete this file and the records of all splits beside it and "
            "convert them again"
        )

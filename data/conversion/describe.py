"""Creates a dataset description from the categories of a COCO panoptic JSON."""

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
      name: name of the dataset.
      content: the annotations.
      label_divisor: panoptic_label_divisor; default: the smallest power of two, at least 256, that is large enough for the
        instances of every image.
      where: the file; error messages start with it.

    Raises:
      DataError: there are no categories, one has an unusable color, id or name, or the divisor is too large.
      ConfigError: the description would be invalid.
    """
    if not content.categories:
        raise DataError(f"{where}: categories is empty")
    if label_divisor is None:
        label_divisor = _SMALLEST_DIVISOR
        while label_divisor <= content.most_instances():
            label_divisor *= 2
    largest = (len(content.categories) + 1) * label_divisor - 1
    if largest not in _INT32:
        raise DataError(
            f"label divisor {label_divisor}: panoptic ids up to {largest} do not fit into 32 bits; use a smaller one"
        )
    proto = dataset_pb2.DatasetDescription(name=name, panoptic_label_divisor=label_divisor, ignore_label=0)
    for class_id, category in enumerate(sorted(content.categories, key=lambda c: c.id), start=1):
        color = _checked_color(category, f"{where}: category {category.id}")
        proto.classes.add(id=class_id, name=category.name, is_thing=category.is_thing, category_id=category.id, color=color)
    descriptions.from_proto(proto, where)
    return text_format.MessageToString(proto, as_utf8=True)


def _checked_color(category: Category, where: str) -> tuple[int, ...]:
    """Checks a category and returns its color, empty if it has none."""
    color = () if category.color is None else values.COLOR.parse(category.color)
    if color is None:
        raise DataError(f"{where} has color {category.color!r:.80}, not {values.COLOR.expected}: correct it")
    if category.id not in _INT32:
        raise DataError(f"{where}: its id does not fit into 32 bits: use another one, here and in the annotations")
    if not names.is_utf8(category.name):
        raise DataError(f"{where} has a name that is not valid Unicode ({category.name!r}): correct it")
    return color


def check_divisor(info: DatasetInfo, label_divisor: int | None, description: str) -> None:
    """Raises DataError if the requested divisor is not that of the description of earlier records."""
    if label_divisor not in (None, info.label_divisor):
        raise DataError(
            f"{description} has panoptic_label_divisor {info.label_divisor}, not {label_divisor}, but all records of a dataset "
            "need the same divisor: omit --label_divisor, or delete this file and the records of all splits in its folder and "
            "convert them again"
        )

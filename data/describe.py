"""Makes a dataset description from the categories of a COCO panoptic JSON."""

from google.protobuf import text_format

from data.coco_json import PanopticJson
from data.records import DataError
from data.segments_info import is_whole
from protos import dataset_pb2
from protos.descriptions import DatasetInfo

_SMALLEST_DIVISOR = 256


def description_text(name: str, content: PanopticJson, *, label_divisor: int | None = None, where: str) -> str:
    """Text of a description: ids 1, 2, ... in the order of the category ids, ignore_label 0.

    Args:
      name: of the dataset.
      content: the annotations; without `label_divisor` the divisor is the smallest power of two from 256 that tells the
        instances of every image apart.
      label_divisor: panoptic_label_divisor.
      where: file that opens every error message.

    Raises:
      DataError: there are no categories, or one has a color that is none.
    """
    if not content.categories:
        raise DataError(f"{where}: categories is empty")
    if label_divisor is None:
        label_divisor = _SMALLEST_DIVISOR
        while label_divisor <= content.most_instances():
            label_divisor *= 2
    proto = dataset_pb2.DatasetDescription(name=name, panoptic_label_divisor=label_divisor, ignore_label=0)
    for class_id, category in enumerate(sorted(content.categories, key=lambda c: c["id"]), start=1):
        color = category.get("color", [])
        if not isinstance(color, list) or not all(is_whole(value) and 0 <= value <= 255 for value in color):
            raise DataError(f"{where}: category {category['id']} has color {color!r}, not three numbers 0 .. 255: correct it")
        proto.classes.add(
            id=class_id,
            name=category["name"],
            is_thing=bool(category["isthing"]),
            category_id=category["id"],
            color=color,
        )
    return text_format.MessageToString(proto, as_utf8=True)


def check_categories(info: DatasetInfo, content: PanopticJson, *, where: str, description: str) -> None:
    """Raises DataError where the description and the categories of an annotation file contradict each other."""
    known = info.by_category()
    for category in content.categories:
        entry = known.get(category["id"])
        if entry is None or entry.name != category["name"] or entry.is_thing != bool(category["isthing"]):
            raise DataError(
                f"{where}: category {category['id']} ({category['name']!r}, isthing {category['isthing']}) is not in "
                f"{description}: that file was made from other categories; use the same for all splits, or delete it"
            )

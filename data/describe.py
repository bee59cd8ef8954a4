"""Makes a dataset description from the categories of a COCO panoptic JSON."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import text_format

from data.coco_json import PanopticJson
from data.records import DataError
from data.segments_info import is_whole
from protos import dataset_pb2, descriptions
from protos.descriptions import DatasetInfo

_SMALLEST_DIVISOR = 256
_INT32 = range(-(1 << 31), 1 << 31)


def description_text(name: str, content: PanopticJson, *, label_divisor: int | None = None, where: str) -> str:
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
    for class_id, category in enumerate(sorted(content.categories, key=lambda c: c["id"]), start=1):
        _check_category(category, f"{where}: category {category['id']}")
        proto.classes.add(
            id=class_id,
            name=category["name"],
            is_thing=bool(category["isthing"]),
            category_id=category["id"],
            color=category.get("color", []),
        )
    descriptions.from_proto(proto, where)
    return text_format.MessageToString(proto, as_utf8=True)


def _check_category(category: Mapping[str, Any], where: str) -> None:
    color = category.get("color", [])
    if not isinstance(color, list) or len(color) not in (0, 3) or not all(is_whole(v) and 0 <= v <= 255 for v in color):
        raise DataError(f"{where} has color {color!r}, not three numbers 0 .. 255: correct it")
    if category["id"] not in _INT32:
        raise DataError(f"{where}: its id does not fit 32 bits: choose another, here and in the annotations")
    try:
        category["name"].encode()
    except UnicodeEncodeError:
        raise DataError(f"{where} has a name that is no valid text ({category['name']!r}): correct it") from None


def check_divisor(info: DatasetInfo, label_divisor: int | None, description: str) -> None:
    """Raises DataError if a divisor is asked for that a description of earlier records does not have."""
    if label_divisor not in (None, info.label_divisor):
        raise DataError(
            f"{description} has panoptic_label_divisor {info.label_divisor}, not {label_divisor}, and all records of a dataset "
            "need one divisor: leave --label_divisor out, or delete this file and the records of all splits beside it and "
            "convert them again"
        )


def check_categories(info: DatasetInfo, content: PanopticJson, *, where: str, description: str, advice: str) -> None:
    """Raises DataError where the description and the categories of an annotation file contradict each other.

    The message starts with the file, `where`, and ends with `advice`.
    """
    known = info.by_category()
    for category in content.categories:
        entry = known.get(category["id"])
        if entry is None or entry.name != category["name"] or entry.is_thing != bool(category["isthing"]):
            was = f", which has {entry.name!r}, isthing {int(entry.is_thing)}" if entry else ""
            raise DataError(
                f"{where}: category {category['id']} ({category['name']!r}, isthing {category['isthing']}) is not in "
                f"{description}{was}: {advice}"
            )

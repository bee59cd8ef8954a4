"""The categories of a JSON: reading, comparing and writing them."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kmax_tf.coco_panoptic import values
from kmax_tf.coco_panoptic.values import PanopticFileError
from protos.descriptions import DatasetInfo


@dataclasses.dataclass(frozen=True)
class Category:
    """One category; missing values are None. `color` is not parsed, see values.COLOR."""

    id: int
    name: str | None = None
    is_thing: bool | None = None
    color: Any = None


def read(content: Mapping[str, Any], path: pathlib.Path) -> tuple[Category, ...]:
    """Reads the list `categories` of a JSON; empty if there is none.

    Raises:
      PanopticFileError: a value has a wrong type, a name is empty, or two categories have the same id.
    """
    categories: dict[int, Category] = {}
    for entry in values.objects(content, "categories", str(path)) if "categories" in content else ():
        category_id = values.value(entry, "id", f"{path}: a category", values.INT32)
        where = f"{path}: category {category_id}"
        if category_id in categories:
            raise PanopticFileError(f"{where} is listed twice: remove one of them")
        name = values.optional(entry, "name", where, values.NAME)
        is_thing = values.optional(entry, "isthing", where, values.FLAG)
        categories[category_id] = Category(category_id, name, is_thing, entry.get("color"))
    return tuple(categories.values())


def require_complete(categories: Sequence[Category], where: str) -> None:
    """Raises PanopticFileError if there are no categories, or a `name` or `isthing` is missing."""
    if not categories:
        raise PanopticFileError(f"{where}: there is no list `categories` of the classes: add it")
    for category in categories:
        for key, found in (("name", category.name), ("isthing", category.is_thing)):
            if found is None:
                raise PanopticFileError(f"{where}: category {category.id} has no {key}: add it")


def of_dataset(info: DatasetInfo) -> tuple[Category, ...]:
    """The categories that the classes of a description have in the dataset's own JSON."""
    return tuple(Category(c.category_id, c.name, c.is_thing) for c in info.classes)


def check_agreement(
    found: Iterable[Category],
    expected: Iterable[Category],
    *,
    where: str,
    source: str,
    advice: str,
    known_only: bool = True,
    complete: bool = False,
    with_names: bool = True,
) -> None:
    """Raises PanopticFileError if categories of the file `where` differ from those with the same ids in `source`.

    Missing values are not compared. The message ends with `advice`. All ids must be among the expected ones if `known_only`,
    and all of these must be found if `complete`; names are compared if `with_names`.
    """
    ours, theirs = ({category.id: category for category in categories} for categories in (found, expected))
    for category_id in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(category_id), theirs.get(category_id)
        name = f"{where}: category {category_id}"
        if (known_only and other is None) or (complete and mine is None):
            raise PanopticFileError(f"{name} is {'missing, but' if other else 'not'} in {source}: {advice}")
        if mine is None or other is None:
            continue
        for key, has, expects in (("name", mine.name, other.name), ("isthing", mine.is_thing, other.is_thing)):
            if has not in (None, expects) and (with_names or key != "name"):
                shown = [repr(value) if key == "name" else int(value) for value in (has, expects)]
                raise PanopticFileError(f"{name} has {key} {shown[0]}, but {shown[1]} in {source}: {advice}")


def from_info(info: DatasetInfo) -> list[dict[str, Any]]:
    """The list `categories` for the classes of a description, with all keys of the format."""
    return [
        {"id": c.category_id, "name": c.name, "supercategory": c.name, "isthing": int(c.is_thing), "color": list(c.color)}
        for c in info.classes
    ]

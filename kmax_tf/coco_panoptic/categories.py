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

    def __str__(self) -> str:
        return f"category {self.id} ({self.name!r}, isthing {int(bool(self.is_thing))})"


def read(content: Mapping[str, Any], path: pathlib.Path) -> tuple[Category, ...]:
    """Reads the list `categories` of a JSON; empty if there is none.

    Raises:
      PanopticFileError: a value has a wrong type, or two categories have the same id.
    """
    categories: dict[int, Category] = {}
    for entry in values.objects(content, "categories", str(path)) if "categories" in content else ():
        category_id = values.value(entry, "id", f"{path}: a category", values.WHOLE)
        where = f"{path}: category {category_id}"
        if category_id in categories:
            raise PanopticFileError(f"{where} is listed twice: remove one of them")
        name, is_thing = (
            values.optional(entry, key, where, kind) for key, kind in (("name", values.TEXT), ("isthing", values.FLAG))
        )
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


def check_known(categories: Iterable[Category], info: DatasetInfo, *, where: str, description: str, advice: str) -> None:
    """Raises PanopticFileError if a category is not in a description or contradicts it; missing values are not compared.

    The message starts with the file, `where`, and ends with `advice`.
    """
    known = info.by_category()
    for category in categories:
        entry = known.get(category.id)
        same = entry and category.name in (None, entry.name) and category.is_thing in (None, entry.is_thing)
        if not same:
            known_as = f", which has {entry.name!r}, isthing {int(entry.is_thing)}" if entry else ""
            raise PanopticFileError(f"{where}: {category} is not in {description}{known_as}: {advice}")


def check_same_things(categories: Iterable[Category], info: DatasetInfo, where: str) -> None:
    """Raises PanopticFileError unless the categories have the ids of `info` and the same of them are things."""
    found = {category.id: bool(category.is_thing) for category in categories}
    expected = {category_id: entry.is_thing for category_id, entry in info.by_category().items()}
    if found == expected:
        return
    first = min(id_ for id_ in found | expected if found.get(id_) != expected.get(id_))
    kinds = {None: "absent", True: "thing", False: "stuff"}
    raise PanopticFileError(
        f"{where}: its categories are not those of {info.name}: category {first} is {kinds[found.get(first)]}, expected "
        f"{kinds[expected.get(first)]}; create the file again with the dataset's own tools"
    )


def check_agreement(true: Iterable[Category], true_path: pathlib.Path, others: Iterable[Category], path: pathlib.Path) -> None:
    """Raises PanopticFileError if equal ids mean different categories; missing values of `others` are not compared."""
    known = {category.id: category for category in true}
    for category in others:
        expected = known.get(category.id, category)
        for key, mine, theirs in (
            ("name", category.name, expected.name),
            ("isthing", category.is_thing, expected.is_thing),
        ):
            if mine not in (None, theirs):
                raise PanopticFileError(
                    f"{path}: category {category.id} has {key} {_shown(mine)}, but {_shown(theirs)} in {true_path}: the files "
                    "have different classes, or one of them has wrong category ids"
                )


def _shown(value: str | bool) -> str:
    return repr(value) if isinstance(value, str) else str(int(value))


def from_info(info: DatasetInfo) -> list[dict[str, Any]]:
    """The list `categories` for the classes of a description, with all keys of the format."""
    return [
        {"id": c.category_id, "name": c.name, "supercategory": c.name, "isthing": int(c.is_thing), "color": list(c.color)}
        for c in info.classes
    ]

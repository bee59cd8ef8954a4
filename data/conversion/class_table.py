"""Reads the table of classes that says what the values of semantic PNGs mean."""

import csv
import dataclasses
import pathlib
import re

import numpy as np

from data.records.schema import DataError
from kmax_tf.coco_panoptic import pngs
from kmax_tf.coco_panoptic.categories import Category
from protos.errors import nearest
from protos.text_files import read_text

KINDS = ("stuff", "thing", "void")
_LARGEST_VALUE = 65535
_NUMBER = re.compile("[0-9]{1,6}")
_HEX_COLOR = re.compile("#[0-9a-fA-F]{6}")
_SEPARATORS = (",", ";", "\t")
_FORM = "a line is `value,name,kind,color`, such as `7,road`, `26,car,thing` or `0,unlabeled,void`"


@dataclasses.dataclass(frozen=True)
class ClassTable:
    """What the values of semantic PNGs mean.

    `categories` have the values as ids; `void` are the values without a class; `colors` maps colors R + 256 G + 65536 B to
    values, for labels that store colors, and is empty if no class has a color.
    """

    path: pathlib.Path
    categories: tuple[Category, ...]
    void: frozenset[int]
    colors: dict[int, int]


def read_class_table(path: pathlib.Path) -> ClassTable:
    """Reads a table with one class per line: `value,name,kind,color`.

    `kind` is one of KINDS (default: stuff), `color` `#rrggbb` or `r g b`. Empty lines, those that start with `#`, and a first
    line of titles are ignored. Semicolons or tabs can be in the place of commas, as spreadsheets write them. A file without
    any of these lists the names of the values 0, 1, 2, ....

    Raises:
      UserError: the file cannot be read, a line is not of this form, or a value, name or color is used twice.
    """
    lines = [(number, line) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
    lines = [(number, line) for number, line in lines if not line.startswith("#")]
    separator = next((mark for mark in _SEPARATORS if any(mark in line for _, line in lines)), None)
    rows: dict[int, tuple[str, str, list[int] | None]] = {}
    seen: dict[str | int, int] = {}
    for position, (number, line) in enumerate(lines):
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator or ",", skipinitialspace=True))]
        if separator and position == 0 and not _NUMBER.fullmatch(cells[0]):
            continue  # titles, such as those of Roboflow's _classes.csv
        value, row = _parse(cells if separator else [str(position), *cells], f"{path}:{number}")
        for key in (f"value {value}", f"name {row[0]}", *([] if row[2] is None else [f"color {cells[3]}"])):
            if key in seen and row[1] != "void":
                raise DataError(f"{path}:{number}: {key} is also in line {seen[key]}: every class needs its own")
            seen[key] = number
        rows[value] = row
    classes = {value: row for value, row in rows.items() if row[1] != "void"}
    if not classes:
        raise DataError(f"{path} lists no class: {_FORM}")
    return ClassTable(
        path,
        tuple(Category(value, name, kind == "thing", color) for value, (name, kind, color) in classes.items()),
        frozenset(rows.keys() - classes.keys()),
        {int(pngs.rgb_to_ids(np.array(color, np.uint8))): value for value, (_, _, color) in rows.items() if color},
    )


def _parse(cells: list[str], where: str) -> tuple[int, tuple[str, str, list[int] | None]]:
    """The value of a class, its name, kind and color (RGB)."""
    if not _NUMBER.fullmatch(cells[0]) or int(cells[0]) > _LARGEST_VALUE or not 2 <= len(cells) <= 4 or not cells[1]:
        raise DataError(f"{where}: {','.join(cells)!r} is not a class: {_FORM}")
    kind = (cells[2:3] or [""])[0].lower() or KINDS[0]
    if kind not in KINDS:
        raise DataError(f"{where}: kind {kind!r} is not one of {', '.join(KINDS)}{nearest(kind, KINDS)}")
    color = cells[3] if len(cells) == 4 else ""
    return int(cells[0]), (cells[1], kind, _color(color, where) if color else None)


def _color(text: str, where: str) -> list[int]:
    if _HEX_COLOR.fullmatch(text):
        channels = list(bytes.fromhex(text[1:]))
    else:
        channels = [int(part) if _NUMBER.fullmatch(part) else -1 for part in text.split()]
    if len(channels) != 3 or not all(0 <= channel <= 255 for channel in channels):
        raise DataError(f"{where}: color {text!r} is neither `#rrggbb` nor `r g b` with numbers 0 .. 255: correct it")
    return channels

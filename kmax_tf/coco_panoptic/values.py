"""Checks of single values of a JSON. What stands for a whole number, such as the text "7" or 7.0, counts as that number."""

import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from protos import text_files
from protos.errors import UserError

LARGEST_SEGMENT_ID = 256**3 - 1
# Without leading zeros: "007" is another name than "7".
_NUMERAL = re.compile("0|-?[1-9][0-9]{0,17}")
_LARGEST_EXACT_FLOAT = 2**53


class PanopticFileError(UserError):
    """A file in COCO's panoptic format that cannot be used; the message names the file and the record."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of values: `parse` makes the value of what stands in the file, None if it is none of this kind."""

    expected: str
    parse: Callable[[Any], Any]


def whole(value: Any) -> int | None:
    """The whole number that a value stands for; true and false are none."""
    if isinstance(value, str):
        return int(value) if _NUMERAL.fullmatch(value) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _LARGEST_EXACT_FLOAT else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _id(value: Any) -> int | str | None:
    number = whole(value)
    return number if number is not None else _text(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _file_name(value: Any) -> str | None:
    usable = isinstance(value, str) and "\0" not in value and pathlib.PurePath(value).name
    return value if usable else None


def _flag(value: Any) -> bool | None:
    return bool(value) if isinstance(value, int) and value in (0, 1) else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None


def _between(parse: Callable[[Any], float | None], low: float, high: float) -> Callable[[Any], float | None]:
    def inside(value: Any) -> float | None:
        number = parse(value)
        return number if number is not None and low <= number <= high else None

    return inside


def _color(value: Any) -> tuple[int, ...] | None:
    channels = [_between(whole, 0, 255)(v) for v in value] if isinstance(value, list) else [None]
    return tuple(channels) if len(channels) in (0, 3) and None not in channels else None


ID = Kind("a whole number or a text", _id)
WHOLE = Kind("a whole number", whole)
TEXT = Kind("a text", _text)
FILE_NAME = Kind("the name of a file", _file_name)
FLAG = Kind("0 or 1", _flag)
PIXELS = Kind("a number of pixels", _between(whole, 1, math.inf))
AREA = Kind("a number of pixels", _between(_number, 0, math.inf))
SCORE = Kind("a number in [0, 1]", _between(_number, 0, 1))
SEGMENT_ID = Kind(
    f"a whole number 1 .. {LARGEST_SEGMENT_ID} (0: pixels without a segment)", _between(whole, 1, LARGEST_SEGMENT_ID)
)
COLOR = Kind("three numbers 0 .. 255", _color)


def value(record: Mapping[str, Any], key: str, where: str, kind: Kind) -> Any:
    """The value of a key.

    Raises:
      PanopticFileError: it is missing or not of this kind; the message starts with `where`.
    """
    if key not in record:
        raise PanopticFileError(f"{where} has no {key}: this is not COCO's panoptic format, make the file again")
    parsed = kind.parse(record[key])
    if parsed is None:
        raise PanopticFileError(f"{where}: {key} is {record[key]!r:.80}, not {kind.expected}: correct it")
    return parsed


def optional(record: Mapping[str, Any], key: str, where: str, kind: Kind) -> Any:
    """As value, but None where the key is missing."""
    return value(record, key, where, kind) if key in record else None


def objects(record: Mapping[str, Any], key: str, where: str) -> tuple[Mapping[str, Any], ...]:
    """The value of a key that holds a list of objects; errors as those of value."""
    entries = value(record, key, where, Kind("a list", lambda entries: entries if isinstance(entries, list) else None))
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise PanopticFileError(f"{where}: {key}[{position}] is {entry!r:.80}, not an object: make the file again")
    return tuple(entries)


def read_json(path: pathlib.Path) -> Mapping[str, Any]:
    """The object that a file holds, with a list `annotations`.

    Raises:
      PanopticFileError: the file does not exist, cannot be read or holds something else.
    """
    text = text_files.read_text(path, PanopticFileError)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PanopticFileError(f"{path}: is not valid JSON ({error}): fetch or make it again") from None
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise PanopticFileError(f"{path}: is not in COCO's panoptic format: there is no list `annotations`")
    return content

"""Checks single values of a JSON. Representations of an integer, such as the string "7" or 7.0, count as that integer."""

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
# Without leading zeros: "007" and "7" are different names.
_NUMERAL = re.compile("0|-?[1-9][0-9]{0,17}")
_LARGEST_EXACT_FLOAT = 2**53


class PanopticFileError(UserError):
    """A file in COCO's panoptic format cannot be used; the message names the file and the entry."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A type of values: `parse` converts a JSON value, or returns None if it has another type; `expected` describes it."""

    expected: str
    parse: Callable[[Any], Any]


def whole(value: Any) -> int | None:
    """The integer that a value represents; None for others, including true and false."""
    if isinstance(value, str):
        return int(value) if _NUMERAL.fullmatch(value) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _LARGEST_EXACT_FLOAT else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _id(value: Any) -> int | str | None:
    number = whole(value)
    return value if number is None and isinstance(value, str) else number


def _name(value: Any) -> str | None:
    usable = isinstance(value, str) and value.strip() and value.encode(errors="ignore").decode() == value
    return value if usable else None


def _file_name(value: Any) -> str | None:
    usable = isinstance(value, str) and "\0" not in value and pathlib.PurePath(value).name
    return value if usable else None


def _number(value: Any) -> float | None:
    # Comparing also works for integers that are too large for a float.
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf
    return value if is_number else None


def _between(parse: Callable[[Any], float | None], low: float, high: float) -> Callable[[Any], float | None]:
    return lambda value: number if (number := parse(value)) is not None and low <= number <= high else None


def _color(value: Any) -> tuple[int, ...] | None:
    channels = [_between(whole, 0, 255)(v) for v in value] if isinstance(value, list) else [None]
    return tuple(channels) if len(channels) in (0, 3) and None not in channels else None


ID = Kind("an integer or a string", _id)
WHOLE = Kind("an integer", whole)
INT32 = Kind("an integer of 32 bits", _between(whole, -(1 << 31), (1 << 31) - 1))
NAME = Kind("a name in valid Unicode", _name)
FILE_NAME = Kind("a file name", _file_name)
FLAG = Kind("0 or 1", lambda value: bool(value) if isinstance(value, int) and value in (0, 1) else None)
PIXELS = Kind("a number of pixels", _between(whole, 1, math.inf))
AREA = Kind("a number of pixels", _between(_number, 0, math.inf))
SCORE = Kind("a number in [0, 1]", _between(_number, 0, 1))
SEGMENT_ID = Kind(f"an integer 1 .. {LARGEST_SEGMENT_ID} (0: pixels without a segment)", _between(whole, 1, LARGEST_SEGMENT_ID))
COLOR = Kind("three numbers 0 .. 255", _color)
_LIST = Kind("a list", lambda value: value if isinstance(value, list) else None)


def value(record: Mapping[str, Any], key: str, where: str, kind: Kind) -> Any:
    """Returns the value of a key.

    Raises:
      PanopticFileError: it is missing or not of this kind; the message starts with `where`.
    """
    if key not in record:
        raise PanopticFileError(f"{where} has no {key}: add it, or create the file again")
    parsed = kind.parse(record[key])
    if parsed is None:
        raise PanopticFileError(f"{where}: {key} is {record[key]!r:.80}, not {kind.expected}: correct it")
    return parsed


def optional(record: Mapping[str, Any], key: str, where: str, kind: Kind) -> Any:
    """Like value, but None if the key is missing."""
    return value(record, key, where, kind) if key in record else None


def objects(record: Mapping[str, Any], key: str, where: str) -> tuple[Mapping[str, Any], ...]:
    """Returns the list of objects of a key; errors as in value."""
    entries = value(record, key, where, _LIST)
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise PanopticFileError(f"{where}: {key}[{position}] is {entry!r:.80}, not an object: create the file again")
    return tuple(entries)


def read_json(path: pathlib.Path) -> Mapping[str, Any]:
    """Reads a JSON object with a list `annotations`.

    Raises:
      PanopticFileError: the file does not exist, cannot be read or contains something else.
    """
    text = text_files.read_text(path, PanopticFileError)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PanopticFileError(f"{path}: not valid JSON ({error}): download or create it again") from None
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise PanopticFileError(f"{path}: there is no list `annotations`: add it, or create the file again")
    return content

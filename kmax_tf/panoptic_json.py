"""Reads and checks JSON files in COCO's panoptic format (https://cocodataset.org/#format-data)."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from protos.errors import UserError

_LARGEST_SEGMENT_ID = 256**3 - 1


class ResultsError(UserError):
    """A file in COCO's panoptic format that cannot be used; the message names the file and the record."""


@dataclasses.dataclass(frozen=True)
class SegmentRecord:
    """One entry of `segments_info`."""

    category_id: int
    is_crowd: bool


@dataclasses.dataclass(frozen=True)
class PanopticJson:
    """Annotations by image id: names of the PNGs and segments; and, as far as the file lists them, categories (with a valid id;
    name and isthing are valid if they are there) and names of the images."""

    file_names: Mapping[int | str, str]
    segments: Mapping[int | str, Mapping[int, SegmentRecord]]
    categories: tuple[Mapping, ...]
    image_names: Mapping[int | str, str]


def read(path: pathlib.Path) -> PanopticJson:
    """Reads ground truth or predictions.

    Raises:
      ResultsError: the file does not exist or is none of this format, or a record is there twice, or lacks a field or has one
        of another type.
    """
    content = _parse(path)
    file_names, segments = {}, {}
    for position, annotation in enumerate(_objects(content, "annotations", str(path))):
        where = f"{path}: annotations[{position}]"
        image_id = _value(annotation, "image_id", where, _is_id, _ID)
        if image_id in file_names:
            raise ResultsError(f"{path}: image {image_id} has more than one annotation")
        file_names[image_id] = _value(annotation, "file_name", where, _is_file_name, _FILE_NAME)
        segments[image_id] = _segments(_objects(annotation, "segments_info", where), f"{path}: image {image_id}")
    return PanopticJson(file_names, segments, _categories(content, path), _image_names(content, path))


def _parse(path: pathlib.Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise ResultsError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise ResultsError(f"{path}: is not in COCO's panoptic format: there is no list `annotations`")
    return content


def _segments(records: Sequence[Mapping], where: str) -> dict[int, SegmentRecord]:
    segments = {}
    for record in records:
        segment_id = _value(record, "id", f"{where}: a segment", _is_segment_id, f"a whole number 1 .. {_LARGEST_SEGMENT_ID}")
        name = f"{where}: segment {segment_id}"
        if segment_id in segments:
            raise ResultsError(f"{name} is listed twice")
        category = _value(record, "category_id", name, _is_whole, "a whole number")
        crowd = _value(record, "iscrowd", name, _is_flag, "0 or 1") if "iscrowd" in record else 0
        segments[segment_id] = SegmentRecord(category, bool(crowd))
    return segments


def _categories(content: Mapping, path: pathlib.Path) -> tuple[Mapping, ...]:
    categories = _objects(content, "categories", str(path)) if "categories" in content else ()
    seen = set()
    for category in categories:
        category_id = _value(category, "id", f"{path}: a category", _is_whole, "a whole number")
        if category_id in seen:
            raise ResultsError(f"{path}: category {category_id} is listed twice")
        seen.add(category_id)
        for key, valid, expected in (("name", _is_text, "a text"), ("isthing", _is_flag, "0 or 1")):
            if key in category:
                _value(category, key, f"{path}: category {category_id}", valid, expected)
    return categories


def _image_names(content: Mapping, path: pathlib.Path) -> dict[int | str, str]:
    names = {}
    for position, image in enumerate(_objects(content, "images", str(path)) if "images" in content else ()):
        where = f"{path}: images[{position}]"
        image_id = _value(image, "id", where, _is_id, _ID)
        names[image_id] = _value(image, "file_name", where, _is_file_name, _FILE_NAME)
    return names


def _objects(record: Mapping, key: str, where: str) -> tuple[Mapping, ...]:
    value = _value(record, key, where, lambda value: isinstance(value, list), "a list")
    for position, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise ResultsError(f"{where}: {key}[{position}] is {entry!r:.80}, not an object")
    return tuple(value)


def _value(record: Mapping, key: str, where: str, valid: Callable[[Any], bool], expected: str) -> Any:
    if key not in record:
        raise ResultsError(f"{where} has no {key}")
    if not valid(record[key]):
        raise ResultsError(f"{where}: {key} is {record[key]!r:.80}, not {expected}")
    return record[key]


_ID = "a whole number or a text"
_FILE_NAME = "the name of a file"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_id(value: Any) -> bool:
    return _is_whole(value) or _is_text(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, int) and value in (0, 1)


def _is_segment_id(value: Any) -> bool:
    return _is_whole(value) and 1 <= value <= _LARGEST_SEGMENT_ID


def _is_file_name(value: Any) -> bool:
    return _is_text(value) and "\0" not in value and bool(pathlib.PurePath(value).name)

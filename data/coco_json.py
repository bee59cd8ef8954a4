"""Reads annotation files in COCO panoptic format (https://cocodataset.org/#format-data)."""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data import source_images
from data.records import DataError
from data.segments_info import is_flag, is_whole
from protos.descriptions import DatasetInfo

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclasses.dataclass(frozen=True)
class SourceImage:
    """An image file and its label; `label_path` is None for an image without one.

    `name` (file name without folder and extension, or what a dataset has for it) identifies the image in records and
    predictions; `size` is the (height, width) that the annotation gives it. Labels in another format than COCO's have a
    subclass of their own.
    """

    name: str
    image_path: pathlib.Path
    label_path: pathlib.Path | None = None
    segments: tuple[Mapping[str, Any], ...] = ()
    size: tuple[int, int] | None = None

    @property
    def files(self) -> tuple[pathlib.Path, ...]:
        """All files that the record is made from."""
        return (self.image_path,) if self.label_path is None else (self.image_path, self.label_path)

    def read_label(self, info: DatasetInfo) -> tuple[np.ndarray, Sequence[Mapping[str, Any]]]:
        """Segment ids [h, w], 0 for none, and the segments (entries as in `segments_info`), in the order of their numbering.

        `info` has the classes, for formats that do not list their segments.

        Raises:
          DataError: the label is missing, damaged or in another format.
        """
        return source_images.read_segment_ids(self.label_path), self.segments


@dataclasses.dataclass(frozen=True)
class PanopticJson:
    """Images in the order of their file names, and the `categories` list as it stands in the file."""

    images: tuple[SourceImage, ...]
    categories: tuple[Mapping[str, Any], ...]

    def most_instances(self) -> int:
        """Largest number of segments, crowds left out, that one image has of one category of things."""
        things = {repr(category["id"]) for category in self.categories if category["isthing"]}
        largest = 0
        for image in self.images:
            ids = (repr(segment.get("category_id")) for segment in image.segments if not segment.get("iscrowd"))
            largest = max([largest, *collections.Counter(i for i in ids if i in things).values()])
        return largest


def read_panoptic_json(json_path: pathlib.Path, images_dir: pathlib.Path, panoptic_dir: pathlib.Path) -> PanopticJson:
    """Reads a panoptic JSON whose images lie in `images_dir` and whose PNGs lie in `panoptic_dir`.

    What single segments hold is checked when their image is converted (segments_info.check_segment).

    Raises:
      DataError: a file or key is missing or has a value of another type, an image has no annotation or two, or two images or
        categories have one id or name.
    """
    content = _load(json_path)
    for directory, what in ((images_dir, "images"), (panoptic_dir, "panoptic PNGs")):
        if not directory.is_dir():
            raise DataError(f"{directory} is not a directory: it should hold the {what} of {json_path}")
    categories = _objects(content, "categories", str(json_path))
    _check_categories(categories, json_path)
    annotations: dict[int | str, Mapping[str, Any]] = {}
    for position, annotation in enumerate(_objects(content, "annotations", str(json_path))):
        image_id = _id(annotation, "image_id", f"{json_path}: annotations[{position}]")
        if image_id in annotations:
            raise DataError(f"{json_path}: image_id {image_id} has more than one annotation: remove all but one")
        annotations[image_id] = annotation
    images: dict[int | str, SourceImage] = {}
    for position, image in enumerate(_objects(content, "images", str(json_path))):
        where = f"{json_path}: images[{position}]"
        image_id, file_name = _id(image, "id", where), _file_name(image, where)
        if image_id in images:
            raise DataError(f"{json_path}: two images have id {image_id}, {images[image_id].image_path.name} and {file_name}")
        if image_id not in annotations:
            raise DataError(f"{json_path}: image {file_name} (id {image_id}) has no annotation: add it, or remove the image")
        annotation, where = annotations[image_id], f"{json_path}: annotation of image {file_name} (id {image_id})"
        label, path = panoptic_dir / _file_name(annotation, where), images_dir / file_name
        segments = _objects(annotation, "segments_info", where)
        images[image_id] = SourceImage(path.stem, path, label, segments, _size(image, f"{json_path}: image {file_name}"))
    return PanopticJson(_sorted_by_name(list(images.values()), json_path), categories)


def list_images(images_dir: pathlib.Path) -> tuple[SourceImage, ...]:
    """All images of a folder, without labels.

    Raises:
      DataError: there is no such folder, or it holds no images.
    """
    if not images_dir.is_dir():
        raise DataError(f"{images_dir} is not a directory: it should hold images")
    paths = [path for path in images_dir.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    return _sorted_by_name([SourceImage(path.stem, path) for path in paths], images_dir)


def _load(json_path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads(json_path.read_bytes())
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise DataError(f"{json_path} {reason}: it should be a COCO panoptic annotation file") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{json_path} is not valid JSON ({error}): fetch or make it again") from None
    if not isinstance(content, dict):
        raise DataError(
            f"{json_path} holds no JSON object: a COCO panoptic annotation file is one, with images, annotations and categories"
        )
    return content


def _value(record: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in record:
        raise DataError(f"{where}: key {key!r} is missing: this is not a COCO panoptic annotation file")
    return record[key]


def _objects(record: Mapping[str, Any], key: str, where: str) -> tuple[Mapping[str, Any], ...]:
    value = _value(record, key, where)
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise DataError(f"{where}: {key} is not a list of objects, as the COCO panoptic format has it: make the file again")
    return tuple(value)


def _id(record: Mapping[str, Any], key: str, where: str) -> int | str:
    value = _value(record, key, where)
    if not is_whole(value) and not isinstance(value, str):
        raise DataError(f"{where}: {key} is {value!r}, neither a whole number nor a text: make the file again")
    return value


def _file_name(record: Mapping[str, Any], where: str) -> str:
    value = _value(record, "file_name", where)
    if not isinstance(value, str) or "\0" in value or not pathlib.PurePath(value).name:
        raise DataError(f"{where}: file_name is {value!r}, not the name of a file: make the JSON again")
    return value


def _size(image: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    if "height" not in image or "width" not in image:
        return None
    for key in ("height", "width"):
        if not is_whole(image[key]) or image[key] < 1:
            raise DataError(f"{where}: {key} is {image[key]!r}, not a number of pixels: correct or remove it")
    return image["height"], image["width"]


def _check_categories(categories: Sequence[Mapping[str, Any]], json_path: pathlib.Path) -> None:
    seen = set()
    for category in categories:
        where = f"{json_path}: category {category.get('id')!r}"
        for key, expected, valid in (
            ("id", "a whole number", is_whole),
            ("name", "a text", lambda value: isinstance(value, str)),
            ("isthing", "0 or 1", is_flag),
        ):
            if not valid(_value(category, key, where)):
                raise DataError(f"{where}: {key} is {category[key]!r}, not {expected}: make the file again")
        if category["id"] in seen:
            raise DataError(f"{where} is listed twice: make the file again")
        seen.add(category["id"])


def _sorted_by_name(images: list[SourceImage], where: pathlib.Path) -> tuple[SourceImage, ...]:
    if not images:
        raise DataError(f"{where} holds no images")
    ordered = sorted(images, key=lambda image: image.image_path.name)
    names = collections.Counter(image.name for image in ordered)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        more = f", and {len(twice) - 1} other names occur twice as well" if len(twice) > 1 else ""
        raise DataError(f"{where}: more than one image has the name {twice[0]!r}{more}: rename them")
    return tuple(ordered)

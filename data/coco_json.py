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
from protos.descriptions import DatasetInfo

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclasses.dataclass(frozen=True)
class SourceImage:
    """An image file and its label; `label_path` is None for an image without one.

    `name` (file name without folder and extension, or what a dataset has for it) identifies the image in records and
    predictions. Labels in another format than COCO's have a subclass of their own.
    """

    name: str
    image_path: pathlib.Path
    label_path: pathlib.Path | None = None
    segments: tuple[Mapping[str, Any], ...] = ()

    def read_label(self, info: DatasetInfo) -> tuple[np.ndarray, Sequence[Mapping[str, Any]]]:
        """Segment ids [h, w] and what the segments are (entries as in `segments_info`), in the order of their numbering.

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
        """Largest number of segments, crowds left out, that one image has of one category."""
        largest = 0
        for image in self.images:
            counts = collections.Counter(s["category_id"] for s in image.segments if not s.get("iscrowd"))
            largest = max([largest, *counts.values()])
        return largest


def read_panoptic_json(json_path: pathlib.Path, images_dir: pathlib.Path, panoptic_dir: pathlib.Path) -> PanopticJson:
    """Reads a panoptic JSON whose images lie in `images_dir` and whose PNGs lie in `panoptic_dir`.

    Raises:
      DataError: a file or key is missing, an image has no annotation or two, or two images have one name.
    """
    content = _load(json_path)
    for directory, what in ((images_dir, "images"), (panoptic_dir, "panoptic PNGs")):
        if not directory.is_dir():
            raise DataError(f"{directory} is not a directory: it should hold the {what} of {json_path}")
    try:
        annotations = {}
        for annotation in content["annotations"]:
            if annotation["image_id"] in annotations:
                raise DataError(f"{json_path}: image_id {annotation['image_id']} has more than one annotation")
            annotations[annotation["image_id"]] = annotation
        images = []
        for image in content["images"]:
            annotation = annotations.get(image["id"])
            if annotation is None:
                raise DataError(f"{json_path}: image {image['file_name']} (id {image['id']}) has no annotation")
            path = images_dir / image["file_name"]
            segments = tuple(annotation["segments_info"])
            images.append(SourceImage(path.stem, path, panoptic_dir / annotation["file_name"], segments))
        categories = tuple(content["categories"])
    except KeyError as error:
        raise DataError(f"{json_path}: key {error} is missing: this is not a COCO panoptic annotation file") from None
    return PanopticJson(_sorted_by_name(images, json_path), categories)


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
    except FileNotFoundError:
        raise DataError(f"{json_path} does not exist: it should be a COCO panoptic annotation file") from None
    except ValueError as error:
        raise DataError(f"{json_path} is not valid JSON ({error}): fetch or make it again") from None
    if not isinstance(content, dict):
        raise DataError(f"{json_path} holds a JSON list: a COCO panoptic annotation file is an object with images, annotations")
    return content


def _sorted_by_name(images: list[SourceImage], where: pathlib.Path) -> tuple[SourceImage, ...]:
    if not images:
        raise DataError(f"{where} holds no images")
    ordered = sorted(images, key=lambda image: image.image_path.name)
    names = collections.Counter(image.name for image in ordered)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise DataError(f"{where}: {len(twice)} names belong to more than one image, for example {twice[0]!r}: rename them")
    return tuple(ordered)

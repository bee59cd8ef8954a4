"""Reads the JSON of a dataset or of predictions."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from kmax_tf.coco_panoptic import categories, names, pairing, values
from kmax_tf.coco_panoptic.categories import Category
from kmax_tf.coco_panoptic.pairing import Id
from kmax_tf.coco_panoptic.values import PanopticFileError


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The annotation of an image: name of the PNG, and the unparsed `segments_info` (see segments.parse_segments)."""

    image_id: Id
    file_name: str
    segments_info: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class ListedImage:
    """An entry of `images`; `size` is (height, width), or None if it is missing."""

    id: Id
    file_name: str
    size: tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class AnnotationFile:
    """The contents of a JSON. `annotations` are by image id; `images` is None if the file has no such list.

    `annotation_of` maps the id of each listed image to that of its annotation, if any: ids match by value (pairing.pair_ids).
    """

    path: pathlib.Path
    annotations: Mapping[Id, Annotation]
    images: Mapping[Id, ListedImage] | None
    categories: tuple[Category, ...]
    annotation_of: Mapping[Id, Id]

    @property
    def without_annotation(self) -> tuple[ListedImage, ...]:
        """Listed images without an annotation."""
        return tuple(image for image in (self.images or {}).values() if image.id not in self.annotation_of)

    @property
    def without_image(self) -> tuple[Annotation, ...]:
        """Annotations whose image is not listed; empty if no image is listed at all."""
        if not self.images:
            return ()
        used = set(self.annotation_of.values())
        return tuple(annotation for image_id, annotation in self.annotations.items() if image_id not in used)

    def unmatched(self) -> str:
        """A line about annotations that belong to no listed image; empty if there are none."""
        left = self.without_image
        if not left:
            return ""
        first = f"image_id {left[0].image_id!r} ({names.shown(left[0].file_name)})"
        count = f"{len(left)} of {len(self.annotations)} annotations"
        return f"{self.path}: {count} {'belongs' if len(left) == 1 else 'belong'} to no image of the file, first: {first}"


def read(path: pathlib.Path) -> AnnotationFile:
    """Reads a JSON; its segments are checked by segments.parse_segments.

    Raises:
      PanopticFileError: the file does not exist or has another format, a key is missing or has a wrong type, an image has two
        annotations, two images or categories have the same id, or no annotation belongs to a listed image.
    """
    content = values.read_json(path)
    annotations, images = _annotations(content, path), _images(content, path)
    pairs = pairing.pair_ids(images or (), annotations)
    if images and annotations and not pairs:
        raise PanopticFileError(
            f"{path}: none of the {len(annotations)} annotations belongs to an image of the file: the first image_id is "
            f"{next(iter(annotations))!r}, the first id of an image is {next(iter(images))!r}; use the same ids in both"
        )
    return AnnotationFile(path, annotations, images, categories.read(content, path), pairs)


def _annotations(content: Mapping[str, Any], path: pathlib.Path) -> dict[Id, Annotation]:
    annotations: dict[Id, Annotation] = {}
    written: dict[Id, Any] = {}
    for position, entry in enumerate(values.objects(content, "annotations", str(path))):
        where = f"{path}: annotations[{position}]"
        image_id = values.value(entry, "image_id", where, values.ID)
        if image_id in annotations:
            _check_types(written[image_id], entry["image_id"], path, "image_id")
            raise PanopticFileError(f"{path}: image {image_id} has more than one annotation: keep only one")
        written[image_id] = entry["image_id"]
        file_name = values.value(entry, "file_name", where, values.FILE_NAME)
        info = values.objects(entry, "segments_info", f"{where} (image_id {image_id})")
        annotations[image_id] = Annotation(image_id, file_name, info)
    return annotations


def _images(content: Mapping[str, Any], path: pathlib.Path) -> dict[Id, ListedImage] | None:
    if "images" not in content:
        return None
    images: dict[Id, ListedImage] = {}
    written: dict[Id, Any] = {}
    for position, entry in enumerate(values.objects(content, "images", str(path))):
        where = f"{path}: images[{position}]"
        image_id = values.value(entry, "id", where, values.ID)
        file_name = values.value(entry, "file_name", where, values.FILE_NAME)
        if image_id in images:
            _check_types(written[image_id], entry["id"], path, "id of an image")
            raise PanopticFileError(
                f"{path}: two images have id {image_id}, {names.shown(images[image_id].file_name)} and "
                f"{names.shown(file_name)}: change one of the ids"
            )
        written[image_id] = entry["id"]
        images[image_id] = ListedImage(image_id, file_name, _size(entry, f"{path}: image {names.shown(file_name)}"))
    return images


def _size(entry: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    height, width = (values.optional(entry, key, where, values.PIXELS) for key in ("height", "width"))
    return None if height is None or width is None else (height, width)


def _check_types(first: Any, second: Any, path: pathlib.Path, what: str) -> None:
    if type(first) is not type(second):
        raise PanopticFileError(
            f"{path}: {what} {first!r} and {second!r} are the same value as a number and as a string: write all ids in the "
            "same way, because they are compared by value"
        )

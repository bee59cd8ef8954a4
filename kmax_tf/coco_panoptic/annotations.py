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
    """The annotation of an image: name of the PNG, and `segments_info` as it stands in the file (segments.parse_segments)."""

    image_id: Id
    file_name: str
    segments_info: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class ListedImage:
    """An entry of `images`; `size` is (height, width), None if the file does not have it."""

    id: Id
    file_name: str
    size: tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class AnnotationFile:
    """What a JSON holds. `annotations` are by image id; `images` is None if the file has no such list.

    `annotation_of` has the id of the annotation of each listed image that has one: ids meet by value (pairing.pair_ids).
    """

    path: pathlib.Path
    annotations: Mapping[Id, Annotation]
    images: Mapping[Id, ListedImage] | None
    categories: tuple[Category, ...]
    annotation_of: Mapping[Id, Id]

    @property
    def without_annotation(self) -> tuple[ListedImage, ...]:
        """Listed images that have no annotation."""
        return tuple(image for image in (self.images or {}).values() if image.id not in self.annotation_of)

    @property
    def without_image(self) -> tuple[Annotation, ...]:
        """Annotations whose image is not listed; none where no image is listed at all."""
        if not self.images:
            return ()
        used = set(self.annotation_of.values())
        return tuple(annotation for image_id, annotation in self.annotations.items() if image_id not in used)

    def unmatched(self) -> str:
        """A line on annotations that belong to no listed image, empty if there are none."""
        left = self.without_image
        if not left:
            return ""
        first = f"image_id {left[0].image_id!r} ({names.shown(left[0].file_name)})"
        count = f"{len(left)} of {len(self.annotations)} annotations"
        return f"{self.path}: {count} {'belongs' if len(left) == 1 else 'belong'} to no image of the file, first: {first}"


def read(path: pathlib.Path) -> AnnotationFile:
    """Reads a JSON; what single segments hold is left to segments.parse_segments.

    Raises:
      PanopticFileError: the file does not exist or is not of this format, an entry lacks a key or has one of another kind, an
        image has two annotations, two images or categories have one id, or no annotation belongs to a listed image.
    """
    content = values.read_json(path)
    annotations, images = _annotations(content, path), _images(content, path)
    pairs = pairing.pair_ids(images or (), annotations)
    if images and annotations and not pairs:
        raise PanopticFileError(
            f"{path}: none of the {len(annotations)} annotations belongs to an image of the file: the first image_id is "
            f"{next(iter(annotations))!r}, the first id of an image {next(iter(images))!r}; give both the same ids"
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
            raise PanopticFileError(f"{path}: image {image_id} has more than one annotation: remove all but one")
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
                f"{names.shown(file_name)}: give one another id"
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
            f"{path}: {what} {first!r} and {second!r} are there both, a number and a text for one value: ids are compared by "
            "value, so write all of them alike"
        )

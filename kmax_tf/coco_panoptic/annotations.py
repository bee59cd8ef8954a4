"""Reads the JSON of a dataset or of predictions."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from kmax_tf.coco_panoptic import categories, names, values
from kmax_tf.coco_panoptic.categories import Category
from kmax_tf.coco_panoptic.names import Id
from kmax_tf.coco_panoptic.values import PanopticFileError


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The annotation of an image: name of the PNG, and the unparsed `segments_info` (see parse_segments)."""

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
class SegmentRecord:
    """An entry of `segments_info`; `area` in pixels and `score` in [0, 1] are None if they are missing."""

    id: int
    category_id: int
    is_crowd: bool = False
    area: float | None = None
    score: float | None = None


_Entry = TypeVar("_Entry", Annotation, ListedImage)


@dataclasses.dataclass(frozen=True)
class AnnotationFile:
    """The contents of a JSON. `annotations` are by image id; `images` is None if the file has no such list.

    `annotation_of` maps the id of each listed image to that of its annotation, if any: ids match by value (names.pair_ids).
    """

    path: pathlib.Path
    annotations: Mapping[Id, Annotation]
    images: Mapping[Id, ListedImage] | None
    categories: tuple[Category, ...]
    annotation_of: Mapping[Id, Id]

    def unmatched(self) -> str:
        """A line about annotations that belong to no listed image; empty if there are none, or no image is listed at all."""
        used = set(self.annotation_of.values())
        left = [annotation for image_id, annotation in self.annotations.items() if image_id not in used]
        if not left or not self.images:
            return ""
        count = f"{len(left)} of {len(self.annotations)}"
        first = f"image_id {left[0].image_id!r} ({names.shown(left[0].file_name)})"
        return f"{self.path}: annotations that belong to no image of the file are ignored: {count}, first: {first}"


def read(path: pathlib.Path) -> AnnotationFile:
    """Reads a JSON; its segments are checked by parse_segments.

    Raises:
      PanopticFileError: the file does not exist or has another format, a key is missing or has a wrong type, an image has two
        annotations, two images or categories have the same id, or no annotation belongs to a listed image.
    """
    content = values.read_json(path)
    annotations = _by_id(content, "annotations", "image_id", path, _annotation)
    images = _by_id(content, "images", "id", path, _listed_image) if "images" in content else None
    pairs = names.pair_ids(images or (), annotations)
    if images and annotations and not pairs:
        raise PanopticFileError(
            f"{path}: none of the {len(annotations)} annotations belongs to an image of the file: the first image_id is "
            f"{next(iter(annotations))!r}, the first id of an image is {next(iter(images))!r}; use the same ids in both"
        )
    return AnnotationFile(path, annotations, images, categories.read(content, path), pairs)


def _by_id(
    content: Mapping[str, Any], key: str, id_key: str, path: pathlib.Path, parse: Callable[[Mapping, Id, str], _Entry]
) -> dict[Id, _Entry]:
    found: dict[Id, _Entry] = {}
    written: dict[Id, Any] = {}
    for position, entry in enumerate(values.objects(content, key, str(path))):
        where = f"{path}: {key}[{position}]"
        entry_id = values.value(entry, id_key, where, values.ID)
        parsed = parse(entry, entry_id, where)
        first = written.setdefault(entry_id, entry[id_key])
        if type(first) is not type(entry[id_key]):
            raise PanopticFileError(
                f"{path}: {id_key} {first!r} and {entry[id_key]!r} of {key} are the same value as a number and as a string: "
                "write all ids in the same way, because they are compared by value"
            )
        if entry_id in found:
            files = " and ".join(names.shown(one.file_name) for one in (found[entry_id], parsed))
            raise PanopticFileError(f"{path}: two {key} have {id_key} {entry_id}, {files}: remove one or correct its id")
        found[entry_id] = parsed
    return found


def _annotation(entry: Mapping[str, Any], image_id: Id, where: str) -> Annotation:
    file_name = values.value(entry, "file_name", where, values.FILE_NAME)
    return Annotation(image_id, file_name, values.objects(entry, "segments_info", f"{where} (image_id {image_id})"))


def _listed_image(entry: Mapping[str, Any], image_id: Id, where: str) -> ListedImage:
    file_name = values.value(entry, "file_name", where, values.FILE_NAME)
    where = f"{where} ({names.shown(file_name)})"
    height, width = (values.optional(entry, key, where, values.PIXELS) for key in ("height", "width"))
    return ListedImage(image_id, file_name, None if height is None or width is None else (height, width))


def parse_segments(entries: Iterable[Mapping[str, Any]], where: str) -> dict[int, SegmentRecord]:
    """Parses the segments of one annotation, by id, in the order of the entries.

    Raises:
      PanopticFileError: a value is missing or has a wrong type, or two segments have the same id; the message names `where`,
        the segment and the value.
    """
    segments: dict[int, SegmentRecord] = {}
    for entry in entries:
        segment_id = values.value(entry, "id", f"{where}: a segment", values.SEGMENT_ID)
        name = f"{where}: segment {segment_id}"
        if segment_id in segments:
            raise PanopticFileError(f"{name} is listed twice: create the annotation again")
        segments[segment_id] = SegmentRecord(
            segment_id,
            values.value(entry, "category_id", name, values.WHOLE),
            bool(values.optional(entry, "iscrowd", name, values.FLAG)),
            values.optional(entry, "area", name, values.AREA),
            values.optional(entry, "score", name, values.SCORE),
        )
    return segments

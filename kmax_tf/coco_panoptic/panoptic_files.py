"""Reads the JSON of a dataset or of predictions and, for evaluation, its PNGs."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from kmax_tf.coco_panoptic import categories, names, pngs, values
from kmax_tf.coco_panoptic.categories import Category
from kmax_tf.coco_panoptic.names import Id
from kmax_tf.coco_panoptic.values import PanopticFileError
from kmax_tf.evaluation.segments import count_labels
from protos.errors import few


@dataclasses.dataclass(frozen=True)
class ImageEntry:
    """An image with its annotation.

    `file_name` and `size` (height, width) are those in `images`, None if they are missing. `png`, the name of the label, and
    the unparsed `segments_info` (see parse_segments) are those in `annotations`; `png` is None without an annotation. `id` is
    that of the annotation, or else of the image.
    """

    id: Id
    file_name: str | None = None
    size: tuple[int, int] | None = None
    png: str | None = None
    segments_info: tuple[Mapping[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True)
class AnnotationFile:
    """The contents of a JSON; `lists_images`: it has a list `images`.

    `note` is a line about annotations that belong to no listed image; empty if there are none, or no image is listed at all.
    """

    entries: tuple[ImageEntry, ...]
    categories: tuple[Category, ...]
    lists_images: bool
    note: str


@dataclasses.dataclass(frozen=True)
class SegmentRecord:
    """An entry of `segments_info`; `area` in pixels and `score` in [0, 1] are None if they are missing."""

    id: int
    category_id: int
    is_crowd: bool = False
    area: float | None = None
    score: float | None = None


def read_annotations(path: pathlib.Path) -> AnnotationFile:
    """Reads a JSON; its segments are checked by parse_segments. Images and annotations are matched by names.pair_ids.

    Raises:
      PanopticFileError: the file does not exist or has another format, a key is missing or has a wrong type, an image has two
        annotations, two images or categories have the same id, or no annotation belongs to a listed image.
    """
    content = values.read_json(path)
    annotations = {entry.id: entry for entry in _entries(content, "annotations", "image_id", path)}
    images = {entry.id: entry for entry in (_entries(content, "images", "id", path) if "images" in content else ())}
    pairs = names.pair_ids(annotations, images)
    if images and annotations and not pairs:
        raise PanopticFileError(
            f"{path}: none of the {len(annotations)} annotations belongs to an image of the file: the first image_id is "
            f"{next(iter(annotations))!r}, the first id of an image is {next(iter(images))!r}; use the same ids in both"
        )
    entries = [
        dataclasses.replace(entry, file_name=images[pairs[i]].file_name, size=images[pairs[i]].size) if i in pairs else entry
        for i, entry in annotations.items()
    ]
    left, annotated, note = [entry for entry in entries if not entry.file_name], set(pairs.values()), ""
    if left and images:
        count, first = f"{len(left)} of {len(entries)}", f"image_id {left[0].id!r} ({names.shown(left[0].png)})"
        note = f"{path}: annotations that belong to no image of the file are ignored: {count}, first: {first}"
    entries += [entry for i, entry in images.items() if i not in annotated]
    return AnnotationFile(tuple(entries), categories.read(content, path), "images" in content, note)


def _entries(content: Mapping[str, Any], key: str, id_key: str, path: pathlib.Path) -> Iterable[ImageEntry]:
    """Parses a list of images or annotations."""
    found: dict[Id, tuple[Any, str]] = {}
    for position, record in enumerate(values.objects(content, key, str(path))):
        where = f"{path}: {key}[{position}]"
        entry_id = values.value(record, id_key, where, values.ID)
        if key == "annotations" and "segmentation" in record and "segments_info" not in record:
            raise PanopticFileError(
                f"{path} is in COCO's instance format (polygons or masks of single objects), not in its panoptic format: "
                "data/build_panoptic.py --instances_json=FILE converts it"
            )
        file_name = values.value(record, "file_name", where, values.FILE_NAME)
        written, other = found.setdefault(entry_id, (record[id_key], file_name))
        if type(written) is not type(record[id_key]):
            raise PanopticFileError(
                f"{path}: {id_key} {written!r} and {record[id_key]!r} of {key} are the same value as a number and as a string: "
                "write all ids in the same way, because they are compared by value"
            )
        if len(found) <= position:
            files = f"{names.shown(other)} and {names.shown(file_name)}"
            raise PanopticFileError(f"{path}: two {key} have {id_key} {entry_id}, {files}: remove one or correct its id")
        if key == "annotations":
            segments = values.objects(record, "segments_info", f"{where} (image_id {entry_id})")
            yield ImageEntry(entry_id, png=file_name, segments_info=segments)
        else:
            where = f"{where} ({names.shown(file_name)})"
            height, width = (values.optional(record, side, where, values.PIXELS) for side in ("height", "width"))
            yield ImageEntry(entry_id, file_name, None if height is None or width is None else (height, width))


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


@dataclasses.dataclass(frozen=True)
class PanopticFile:
    """Ground truth or predictions by image id. `categories` is empty if the file lists none.

    `file_names` are those of the PNGs, `image_names` those of the listed images; `notes` are lines about images without
    annotations and vice versa, and about crowds of stuff.
    """

    path: pathlib.Path
    folder: pathlib.Path
    categories: tuple[Category, ...]
    file_names: Mapping[Id, str]
    segments: Mapping[Id, Mapping[int, SegmentRecord]]
    image_names: Mapping[Id, str]
    notes: tuple[str, ...]

    def read_ids(self, image_id: Id, *, complete: bool = False) -> np.ndarray:
        """Segment id of each pixel, int32 [H, W].

        Raises:
          PanopticFileError: the PNG does not exist, is not an RGB image, or contains an id that the JSON does not list; or it
            should be `complete`, but an id of the JSON has no pixels.
        """
        path = self.folder / self.file_names[image_id]
        ids = pngs.read_ids(path)
        visible, listed = count_labels(ids), self.segments[image_id]
        unlisted = [i for i in visible if i != 0 and i not in listed]
        if unlisted:
            raise PanopticFileError(
                f"{path}: segment id {few(unlisted)} is in the PNG, but {self.path} does not list it for image {image_id}: the "
                "files do not match"
            )
        invisible = [i for i in listed if i not in visible]
        if complete and invisible:
            raise PanopticFileError(
                f"{self.path}: image {image_id}: segment id {few(invisible)} is in segments_info, but not in the PNG {path}: "
                "the files do not match"
            )
        return ids

    def score(self, image_id: Id, segment_id: int, *, needed_by: str) -> float:
        """The score of a segment, in [0, 1].

        Raises:
          PanopticFileError: it has none; `needed_by` says what needs it, such as `AP needs`.
        """
        score = self.segments[image_id][segment_id].score
        if score is None:
            raise PanopticFileError(
                f"{self.path}: image {image_id}: segment {segment_id} has no score, which {needed_by}: create the predictions "
                "with trainer/predict.py"
            )
        return score

    def select(self, ids: Mapping[Id, Id]) -> "PanopticFile":
        """The images whose ids are the values of `ids`, renamed to the keys."""
        parts = {
            part: {new: getattr(self, part)[old] for new, old in ids.items() if old in getattr(self, part)}
            for part in ("file_names", "segments", "image_names")
        }
        return dataclasses.replace(self, **parts)


def read_panoptic_file(json_path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> PanopticFile:
    """Reads the JSON of ground truth or predictions; `folder` of the PNG files defaults to its name without `.json`.

    Raises:
      PanopticFileError: a file or folder does not exist, there are no annotations, or an entry is repeated, lacks a key or has
        a value of a wrong type.
    """
    path = pathlib.Path(json_path)
    content = read_annotations(path)
    annotated = {entry.id: entry for entry in content.entries if entry.png}
    if not annotated:
        raise PanopticFileError(f"{path}: annotations is empty, so there is nothing to evaluate: choose another file")
    images = pathlib.Path(folder) if folder else path.with_suffix("")
    if not images.is_dir():
        raise PanopticFileError(f"{images}: no such folder; it must contain the PNG files of {path}")
    segments = {i: parse_segments(entry.segments_info, f"{path}: image {i}") for i, entry in annotated.items()}
    notes = [content.note] if content.note else []
    missing = [entry.id for entry in content.entries if not entry.png]
    if missing:
        listed = sum(entry.file_name is not None for entry in content.entries)
        notes.append(f"{path}: images without an annotation are ignored: {len(missing)} of {listed}, first: {missing[0]!r}")
    stuff = {category.id for category in content.categories if category.is_thing is False}
    crowds = [(i, s.id) for i, found in segments.items() for s in found.values() if s.is_crowd and s.category_id in stuff]
    if crowds:
        notes.append(
            f"{path}: iscrowd is 1 for stuff, which COCO allows only for things: segment {crowds[0][1]} of image "
            f"{crowds[0][0]}, {len(crowds)} in all; they are scored as crowds, like in COCO's official script"
        )
    return PanopticFile(
        path,
        images,
        content.categories,
        {image_id: entry.png for image_id, entry in annotated.items()},
        segments,
        {image_id: entry.file_name for image_id, entry in annotated.items() if entry.file_name},
        tuple(notes),
    )

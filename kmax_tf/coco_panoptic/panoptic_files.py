"""Reads a JSON and its PNGs for evaluation; all segments are checked."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from kmax_tf.coco_panoptic import annotations, pngs
from kmax_tf.coco_panoptic.annotations import SegmentRecord
from kmax_tf.coco_panoptic.categories import Category
from kmax_tf.coco_panoptic.names import Id
from kmax_tf.coco_panoptic.values import PanopticFileError
from kmax_tf.evaluation.segments import count_labels


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

    def read_ids(self, image_id: Id) -> np.ndarray:
        """Segment id of each pixel, int32 [H, W].

        Raises:
          PanopticFileError: the PNG does not exist, is not an RGB image, or contains an id that the JSON does not list.
        """
        path = self.folder / self.file_names[image_id]
        ids = pngs.read_ids(path)
        unlisted = [i for i in count_labels(ids) if i != 0 and i not in self.segments[image_id]]
        if unlisted:
            raise PanopticFileError(
                f"{path}: segment id {few(unlisted)} is in the PNG, but {self.path} does not list it for image {image_id}: the "
                "files do not match"
            )
        return ids

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
    content = annotations.read(path)
    annotated = {entry.id: entry for entry in content.entries if entry.png}
    if not annotated:
        raise PanopticFileError(f"{path}: annotations is empty, so there is nothing to evaluate: choose another file")
    images = pathlib.Path(folder) if folder else path.with_suffix("")
    if not images.is_dir():
        raise PanopticFileError(f"{images}: no such folder; it must contain the PNG files of {path}")
    segments = {i: annotations.parse_segments(entry.segments_info, f"{path}: image {i}") for i, entry in annotated.items()}
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


def few(values: Sequence[Id], limit: int = 5) -> str:
    """The first `limit` values and the number of the rest, for messages."""
    return ", ".join(str(v) for v in values[:limit]) + (f" and {len(values) - limit} more" if len(values) > limit else "")

"""Reads a JSON and its PNGs for evaluation; all segments are checked."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from kmax_tf.coco_panoptic import annotations, pngs
from kmax_tf.coco_panoptic.annotations import AnnotationFile
from kmax_tf.coco_panoptic.categories import Category
from kmax_tf.coco_panoptic.pairing import Id
from kmax_tf.coco_panoptic.segments import SegmentRecord, parse_segments
from kmax_tf.coco_panoptic.values import PanopticFileError
from kmax_tf.evaluation.segments import count_labels


@dataclasses.dataclass(frozen=True)
class PanopticFile:
    """Ground truth or predictions by image id. `categories` is empty if the file lists none.

    `file_names` are those of the PNGs, `image_names` those of the listed images.
    """

    path: pathlib.Path
    folder: pathlib.Path
    categories: tuple[Category, ...]
    file_names: Mapping[Id, str]
    segments: Mapping[Id, Mapping[int, SegmentRecord]]
    image_names: Mapping[Id, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
        return dataclasses.replace(
            self,
            file_names={new: self.file_names[old] for new, old in ids.items()},
            segments={new: self.segments[old] for new, old in ids.items()},
            image_names={new: self.image_names[old] for new, old in ids.items() if old in self.image_names},
        )


def read_panoptic_file(json_path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> PanopticFile:
    """Reads the JSON of ground truth or predictions; `folder` of the PNG files defaults to its name without `.json`.

    `notes` are lines about images without annotations and vice versa.

    Raises:
      PanopticFileError: a file or folder does not exist, or an entry is repeated, lacks a key or has a value of a wrong type.
    """
    path = pathlib.Path(json_path)
    content = annotations.read(path)
    images = pathlib.Path(folder) if folder else path.with_suffix("")
    if not images.is_dir():
        raise PanopticFileError(f"{images}: no such folder; it must contain the PNG files of {path}")
    return PanopticFile(
        path,
        images,
        content.categories,
        {image_id: annotation.file_name for image_id, annotation in content.annotations.items()},
        {
            image_id: parse_segments(annotation.segments_info, f"{path}: image {image_id}")
            for image_id, annotation in content.annotations.items()
        },
        {content.annotation_of[image.id]: image.file_name for image in _annotated(content)},
        _notes(content),
    )


def _annotated(content: AnnotationFile) -> list[annotations.ListedImage]:
    return [image for image in (content.images or {}).values() if image.id in content.annotation_of]


def _notes(content: AnnotationFile) -> tuple[str, ...]:
    missing = content.without_annotation
    notes = [content.unmatched()]
    if missing:
        notes.append(
            f"{content.path}: {len(missing)} of {len(content.images or ())} images have no annotation and are ignored, first: "
            f"{missing[0].id!r}"
        )
    return tuple(note for note in notes if note)


def few(values: Sequence[Id], limit: int = 5) -> str:
    """The first `limit` values and the number of the rest, for messages."""
    return ", ".join(str(v) for v in values[:limit]) + (f" and {len(values) - limit} more" if len(values) > limit else "")

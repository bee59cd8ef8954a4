"""Reads Cityscapes in the layout of the download and in that of cityscapesScripts."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.conversion import image_lists, json_labels
from data.conversion.image_lists import SourceImage
from data.records.schema import DataError
from kmax_tf.coco_panoptic import pngs
from kmax_tf.files.hidden import is_hidden
from protos.descriptions import DatasetInfo

OFFICIAL_IMAGES = {"train": 2975, "val": 500, "test": 1525}
_IMAGE_SUFFIX = "_leftImg8bit"
# Label ids of the annotations are 0 .. 33 (license plates, -1, are not drawn); instances are label id * 1000 + number.
_NUM_LABEL_IDS = 34
_INSTANCE_FACTOR = 1000


class InstanceIdsImage(SourceImage):
    """An image whose label is a `*_gtFine_instanceIds.png`."""

    def read_label(self, info: DatasetInfo) -> tuple[np.ndarray, Sequence[Mapping[str, Any]]]:
        """Returns the ids of the PNG, and the segments in ascending order of their ids, like createPanopticImgs.py.

        A thing without an instance number is a group, which COCO calls a crowd. Label ids that are not a class of `info`
        (`ignoreInEval` in cityscapesScripts) are not segments: their pixels get id 0.

        Raises:
          UserError: the PNG is missing or damaged, has a wrong mode, or contains a label id that does not exist.
        """
        expected = "an instanceIds.png has 16 bits per pixel (label id, or label id * 1000 + instance)"
        ids = pngs.read_png(self.label_path, ("I", "I;16", "I;16B"), expected).astype(np.int32)
        classes = info.by_category()
        segments = []
        for segment_id in np.unique(ids).tolist():
            numbered = segment_id >= _INSTANCE_FACTOR
            label_id = segment_id // _INSTANCE_FACTOR if numbered else segment_id
            if label_id >= _NUM_LABEL_IDS:
                raise DataError(
                    f"{self.label_path}: id {segment_id} means label id {label_id}, but Cityscapes has label ids 0 .. "
                    f"{_NUM_LABEL_IDS - 1}: download or create the file again"
                )
            if label_id in classes:
                crowd = classes[label_id].is_thing and not numbered
                segments.append({"id": segment_id, "category_id": label_id, "iscrowd": int(crowd)})
        return np.where(np.isin(ids, [segment["id"] for segment in segments]), ids, 0), segments


def list_images(root: pathlib.Path, split: str) -> tuple[SourceImage, ...]:
    """Lists leftImg8bit/<split>/<city>/*_leftImg8bit.png, named `<city>_<sequence>_<frame>`, in the order of the names.

    Raises:
      DataError: the folder does not exist or contains no images.
    """
    folder = _images_dir(root, split)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a directory: --cityscapes_root must contain leftImg8bit/{split}/<city>/")
    found = (p for p in folder.glob(f"*/*{_IMAGE_SUFFIX}.png") if not (is_hidden(p.name) or is_hidden(p.parent.name)))
    paths = sorted(found, key=lambda path: path.name)
    if not paths:
        raise DataError(f"{folder} contains no images <city>/*{_IMAGE_SUFFIX}.png")
    stems = ((path, path.stem.removesuffix(_IMAGE_SUFFIX)) for path in paths)
    return tuple(SourceImage(stem, path, problem=image_lists.problem_of_name(stem)) for path, stem in stems)


def find_panoptic_json(root: pathlib.Path, split: str) -> pathlib.Path | None:
    """Returns the annotation file that createPanopticImgs.py creates, with train ids or else label ids; None if none exists."""
    for suffix in ("_trainId", ""):
        path = root / "gtFine" / f"cityscapes_panoptic_{split}{suffix}.json"
        if path.is_file():
            return path
    return None


def with_panoptic_json(
    images: Sequence[SourceImage], root: pathlib.Path, split: str, json_path: pathlib.Path, info: DatasetInfo
) -> tuple[tuple[SourceImage, ...], DatasetInfo]:
    """Assigns each image its annotation in `json_path` (see find_panoptic_json).

    Returns:
      The images, and `info` with the category ids of the file.

    Raises:
      UserError: the file does not match the images or the classes.
    """
    if json_path.stem.endswith("_trainId"):
        info = dataclasses.replace(info, classes=tuple(dataclasses.replace(c, category_id=c.id) for c in info.classes))
    return json_labels.from_panoptic_json(images, _images_dir(root, split), json_path, info), info


def with_instance_ids(images: Sequence[SourceImage], root: pathlib.Path, split: str) -> tuple[SourceImage, ...]:
    """Assigns each image its gtFine/<split>/<city>/*_gtFine_instanceIds.png; the files may be missing.

    Raises:
      DataError: the folder gtFine/<split> does not exist.
    """
    folder = root / "gtFine" / split
    if not folder.is_dir():
        raise DataError(f"{folder} is not a directory: --cityscapes_root must contain gtFine/{split}/<city>/")
    labels = (folder / image.image_path.parent.name / f"{image.name}_gtFine_instanceIds.png" for image in images)
    return tuple(
        InstanceIdsImage(image.name, image.image_path, label, problem=image.problem)
        for image, label in zip(images, labels, strict=True)
    )


def _images_dir(root: pathlib.Path, split: str) -> pathlib.Path:
    return root / "leftImg8bit" / split

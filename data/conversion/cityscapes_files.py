"""Reads the files of Cityscapes as they are downloaded and as cityscapesScripts make them."""

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
        """Ids as the PNG has them; segments in ascending order of their ids, as createPanopticImgs.py lists them.

        A thing without an instance number is a group, which is a crowd in COCO's terms. Label ids without a class in `info`
        (`ignoreInEval` in cityscapesScripts) are no segments: their pixels have id 0.

        Raises:
          UserError: the PNG is missing, damaged, has another mode or a label id that does not exist.
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
                    f"{self.label_path}: id {segment_id} means label id {label_id}, Cityscapes has label ids 0 .. "
                    f"{_NUM_LABEL_IDS - 1}: fetch or make the file again"
                )
            if label_id in classes:
                crowd = classes[label_id].is_thing and not numbered
                segments.append({"id": segment_id, "category_id": label_id, "iscrowd": int(crowd)})
        return np.where(np.isin(ids, [segment["id"] for segment in segments]), ids, 0), segments


def list_images(root: pathlib.Path, split: str) -> tuple[SourceImage, ...]:
    """The images leftImg8bit/<split>/<city>/*_leftImg8bit.png, named `<city>_<sequence>_<frame>`, in the order of the names.

    Raises:
      DataError: there is no such folder, or it holds no images.
    """
    folder = _images_dir(root, split)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a directory: --cityscapes_root should hold leftImg8bit/{split}/<city>/")
    found = (p for p in folder.glob(f"*/*{_IMAGE_SUFFIX}.png") if not (is_hidden(p.name) or is_hidden(p.parent.name)))
    paths = sorted(found, key=lambda path: path.name)
    if not paths:
        raise DataError(f"{folder} holds no images <city>/*{_IMAGE_SUFFIX}.png")
    stems = ((path, path.stem.removesuffix(_IMAGE_SUFFIX)) for path in paths)
    return tuple(SourceImage(stem, path, problem=image_lists.problem_of_name(stem)) for path, stem in stems)


def find_panoptic_json(root: pathlib.Path, split: str) -> pathlib.Path | None:
    """The annotation file that createPanopticImgs.py made, with train ids or with label ids; None if there is none."""
    for suffix in ("_trainId", ""):
        path = root / "gtFine" / f"cityscapes_panoptic_{split}{suffix}.json"
        if path.is_file():
            return path
    return None


def with_panoptic_json(
    images: Sequence[SourceImage], root: pathlib.Path, split: str, json_path: pathlib.Path, info: DatasetInfo
) -> tuple[tuple[SourceImage, ...], DatasetInfo]:
    """Gives each image its annotation in a file of find_panoptic_json.

    Returns:
      The images, and `info` with the category ids of the file.

    Raises:
      UserError: the file does not fit the images or the classes.
    """
    if json_path.stem.endswith("_trainId"):
        info = dataclasses.replace(info, classes=tuple(dataclasses.replace(c, category_id=c.id) for c in info.classes))
    return json_labels.from_panoptic_json(images, _images_dir(root, split), json_path, info), info


def with_instance_ids(images: Sequence[SourceImage], root: pathlib.Path, split: str) -> tuple[SourceImage, ...]:
    """Gives each image its gtFine/<split>/<city>/*_gtFine_instanceIds.png, which may be missing.

    Raises:
      DataError: there is no such folder.
    """
    folder = root / "gtFine" / split
    if not folder.is_dir():
        raise DataError(f"{folder} is not a directory: --cityscapes_root should hold gtFine/{split}/<city>/")
    return tuple(
        InstanceIdsImage(
            image.name, image.image_path, folder / image.image_path.parent.name / _label_name(image), problem=image.problem
        )
        for image in images
    )


def _images_dir(root: pathlib.Path, split: str) -> pathlib.Path:
    return root / "leftImg8bit" / split


def _label_name(image: SourceImage) -> str:
    return f"{image.name}_gtFine_instanceIds.png"

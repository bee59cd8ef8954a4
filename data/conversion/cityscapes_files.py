"""Reads Cityscapes in the layout of the download and in that of cityscapesScripts."""

import dataclasses
import pathlib
import sys
from collections.abc import Collection

import numpy as np

from data.conversion import image_lists
from data.conversion.image_lists import SourceImage
from data.records.schema import DataError
from kmax_tf.coco_panoptic import pngs
from kmax_tf.coco_panoptic.panoptic_files import SegmentRecord
from kmax_tf.files.patterns import is_hidden
from protos.descriptions import DatasetInfo

OFFICIAL_IMAGES = {"train": 2975, "val": 500, "test": 1525}
_IMAGE_SUFFIX = "_leftImg8bit"
# Label ids of the annotations are 0 .. 33 (license plates, -1, are not drawn); instances are label id * 1000 + number.
_NUM_LABEL_IDS = 34
_INSTANCE_FACTOR = 1000


class InstanceIdsImage(SourceImage):
    """An image whose label is a `*_gtFine_instanceIds.png`."""

    def read_label(self, info: DatasetInfo) -> tuple[np.ndarray, Collection[SegmentRecord]]:
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
                segments.append(SegmentRecord(segment_id, label_id, classes[label_id].is_thing and not numbered))
        return np.where(np.isin(ids, [segment.id for segment in segments]), ids, 0), segments


def list_sources(root: pathlib.Path, split: str, info: DatasetInfo) -> tuple[tuple[SourceImage, ...], DatasetInfo]:
    """Lists leftImg8bit/<split>/<city>/*_leftImg8bit.png in the order of their names, with their labels.

    These are in the files that createPanopticImgs.py creates, with train ids or else label ids, if they exist, and otherwise in
    gtFine/<split>/<city>/*_gtFine_instanceIds.png, which may be missing. The split test has no labels.

    Returns:
      The images, named `<city>_<sequence>_<frame>`, and `info` with the category ids of the labels.

    Raises:
      UserError: a folder does not exist or contains no images, or the JSON does not match the images or the classes.
    """
    images_dir = root / "leftImg8bit" / split
    images = _list_images(images_dir, split)
    if split == "test":
        return images, info
    for suffix in ("_trainId", ""):
        json_path = root / "gtFine" / f"cityscapes_panoptic_{split}{suffix}.json"
        if json_path.is_file():
            print(f"{split}: reading labels from {json_path}", file=sys.stderr)
            if suffix:
                info = dataclasses.replace(info, classes=tuple(dataclasses.replace(c, category_id=c.id) for c in info.classes))
            return image_lists.with_annotations(images, images_dir, json_path, info), info
    folder = root / "gtFine" / split
    if not folder.is_dir():
        raise DataError(f"{folder} is not a directory: --cityscapes_root must contain gtFine/{split}/<city>/")
    labels = [folder / image.image_path.parent.name / f"{image.name}_gtFine_instanceIds.png" for image in images]
    return tuple(InstanceIdsImage(image.name, image.image_path, label) for image, label in zip(images, labels)), info


def _list_images(folder: pathlib.Path, split: str) -> tuple[SourceImage, ...]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a directory: --cityscapes_root must contain leftImg8bit/{split}/<city>/")
    found = (p for p in folder.glob(f"*/*{_IMAGE_SUFFIX}.png") if not (is_hidden(p.name) or is_hidden(p.parent.name)))
    paths = sorted(found, key=lambda path: path.name)
    if not paths:
        raise DataError(f"{folder} contains no images <city>/*{_IMAGE_SUFFIX}.png")
    return tuple(SourceImage(path.stem.removesuffix(_IMAGE_SUFFIX), path) for path in paths)

"""Reads ADE20K in the layout of the scene parsing challenge and in that of Mask2Former's preparation script."""

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
from protos.descriptions import DatasetInfo

OFFICIAL_IMAGES = {"train": 20210, "val": 2000}
_FOLDERS = {"train": "training", "val": "validation"}
_OTHER_CATEGORY = 255
# Semantic values have 8 bits, so larger ids are free for instances.
_FIRST_INSTANCE = 256


@dataclasses.dataclass(frozen=True)
class TwoFileImage(SourceImage):
    """An image whose label consists of a semantic PNG (`label_path`) and an instance PNG (`instance_path`)."""

    instance_path: pathlib.Path | None = None

    @property
    def files(self) -> tuple[pathlib.Path, ...]:
        """All files that the record is created from."""
        return (*super().files, self.instance_path)

    def read_label(self, info: DatasetInfo) -> tuple[np.ndarray, Collection[SegmentRecord]]:
        """Combines both files into one map, following the rules of Mask2Former's prepare_ade20k_pan_seg.py.

        Things come from the instance file, ordered by instance number, and cover the stuff of the semantic file. Pixels that
        are a thing in the semantic file but no instance in the instance file belong to no segment.

        Raises:
          UserError: a PNG is missing or damaged, has a wrong mode or size, contains an id that does not exist, or assigns
            several categories to one instance.
        """
        expected = "the semantic annotations of the challenge have 8 bits per pixel (class 1 .. 150, 0: other)"
        semantic = pngs.read_png(self.label_path, ("L",), expected)
        expected = "the instance annotations of the challenge are RGB (R: category 1 .. 100, G: number of the instance)"
        category, number = np.moveaxis(pngs.read_png(self.instance_path, ("RGB",), expected), -1, 0)[:2]
        if number.shape != semantic.shape:
            raise DataError(
                f"{self.instance_path} is {number.shape[1]}x{number.shape[0]} (width x height), but {self.label_path} is "
                f"{semantic.shape[1]}x{semantic.shape[0]}: download both again"
            )
        if semantic.size and semantic.max() >= info.num_ids:
            raise DataError(
                f"{self.label_path} contains class {semantic.max()}, but ADE20K has classes 1 .. {info.num_ids - 1} and 0: it "
                "is not a semantic annotation of the challenge"
            )
        stuff = {c.id: c.category_id for c in info.classes if not c.is_thing}
        ids = np.where(np.isin(semantic, list(stuff)), semantic, 0)
        ids = np.where(number > 0, _FIRST_INSTANCE + number.astype(np.int32), ids)
        segments = [SegmentRecord(i, stuff[i]) for i in np.unique(ids).tolist() if i in stuff]
        return ids, segments + self._instances(category, number, info)

    def _instances(self, category: np.ndarray, number: np.ndarray, info: DatasetInfo) -> list[SegmentRecord]:
        # The 100 categories of the instance annotations are the things in ascending order of the classes.
        things = [c.category_id for c in info.classes if c.is_thing]
        segments: dict[int, SegmentRecord] = {}
        pairs = np.unique(256 * number[number > 0].astype(np.int32) + category[number > 0]).tolist()
        for instance, thing in (divmod(pair, 256) for pair in pairs):
            name = f"{self.instance_path}: instance {instance}"
            if not 1 <= thing <= len(things):
                raise DataError(f"{name} has category {thing}, but there are categories 1 .. {len(things)}: download it again")
            if instance in segments:
                raise DataError(f"{name} has more than one category: download it again")
            segments[instance] = SegmentRecord(_FIRST_INSTANCE + instance, things[thing - 1])
        return list(segments.values())


class PanopticImage(SourceImage):
    """An image whose label was written by prepare_ade20k_pan_seg.py."""

    def read_label(self, info: DatasetInfo) -> tuple[np.ndarray, Collection[SegmentRecord]]:
        """Reads the label without areas and without segments that have no pixels: the file lists stuff before things cover it.

        Category 255 is not a class: its pixels get id 0.
        """
        ids, segments = super().read_label(info)
        ids = np.where(np.isin(ids, [s.id for s in segments if s.category_id == _OTHER_CATEGORY]), 0, ids)
        visible = set(np.unique(ids).tolist())
        return ids, [dataclasses.replace(s, area=None) for s in segments if s.id in visible]


def list_sources(root: pathlib.Path, split: str, info: DatasetInfo) -> tuple[SourceImage, ...]:
    """Lists images/{training,validation}/*.jpg in the order of their names, with their labels.

    These are in the files that prepare_ade20k_pan_seg.py creates (ade20k_panoptic_<split>.json), if they exist, and otherwise
    in annotations/ and annotations_instance/, where files may be missing. `info` describes ADE20K.

    Raises:
      UserError: a folder does not exist or contains no images, or the JSON does not match the images or the classes.
    """
    images_dir, json_path = _folder(root, "images", split), root / f"ade20k_panoptic_{split}.json"
    images = image_lists.list_images(images_dir)
    if json_path.is_file():
        print(f"{split}: reading labels from {json_path}", file=sys.stderr)
        labeled = image_lists.with_annotations(images, images_dir, json_path, info)
        return tuple(PanopticImage(**vars(image)) for image in labeled)
    semantic, instance = (_folder(root, kind, split) for kind in ("annotations", "annotations_instance"))
    return tuple(
        TwoFileImage(image.name, image.image_path, semantic / name, instance_path=instance / name)
        for image, name in ((image, f"{image.name}.png") for image in images)
    )


def _folder(root: pathlib.Path, kind: str, split: str) -> pathlib.Path:
    folder = root / kind / _FOLDERS[split]
    if not folder.is_dir():
        hint = " (a separate download of the challenge)" if kind == "annotations_instance" else ""
        raise DataError(f"{folder} is not a directory: --ade20k_root must contain {kind}/{_FOLDERS[split]}/{hint}")
    return folder

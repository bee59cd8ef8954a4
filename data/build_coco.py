"""Converts COCO panoptic to TFRecords.

    python data/build_coco.py --coco_root=D --output_dir=O --splits=train,val

reads the official layout: train2017/, val2017/, test2017/, annotations/panoptic_{train,val}2017.json and the folders
annotations/panoptic_{train,val}2017/ with the PNGs. For files in other places:

    python data/build_coco.py --images_dir=I --panoptic_json=J --panoptic_dir=P --split=val --output_dir=O

If the JSON contains only `annotations`, the images are expected to be JPEGs with the names of the PNGs.

Predictions of trainer/predict.py can also be used as labels; --min_score and --min_area drop uncertain and small segments.
"""

import pathlib
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # works in a clone that is not installed, too

from absl import flags

from data.conversion import conversion_flags, image_lists
from data.records.schema import DataError
from kmax_tf.cli.command_flags import define_path
from kmax_tf.coco_panoptic import categories
from protos import descriptions
from protos.descriptions import DatasetInfo

_COCO_ROOT = define_path("coco_root", "Root folder of the official layout.")
_SPLITS = flags.DEFINE_list("splits", ["train", "val"], "Splits of the official layout: train, val, test.")
_IMAGES_DIR = define_path("images_dir", "Folder of the images, instead of --coco_root.")
_PANOPTIC_JSON = define_path("panoptic_json", "With --images_dir: the annotation file. Default: convert without labels.")
_PANOPTIC_DIR = define_path("panoptic_dir", "Folder of the PNGs. Default: --panoptic_json without .json.")
_SPLIT = flags.DEFINE_string("split", None, "With --images_dir: name of the split; record file names start with it.")
conversion_flags.define_limits()


def main() -> None:
    info = descriptions.load("coco_panoptic")
    if (_COCO_ROOT.value is None) == (_IMAGES_DIR.value is None):
        raise DataError("give either --coco_root (official layout) or --images_dir, --panoptic_json and --split")
    if _IMAGES_DIR.value is not None:
        if not _SPLIT.value:
            raise DataError("--images_dir requires --split, the name of the split")
        conversion_flags.check_file_name(_SPLIT)
        _convert_split(_SPLIT.value, pathlib.Path(_IMAGES_DIR.value), _PANOPTIC_JSON.value, info)
        return
    for flag in (_PANOPTIC_JSON, _PANOPTIC_DIR, _SPLIT):
        if flag.value is not None:
            raise DataError(f"--{flag.name} can only be used with --images_dir; with --coco_root, use --splits")
    root = pathlib.Path(_COCO_ROOT.value)
    conversion_flags.check_splits(_SPLITS.value, ("train", "val", "test"))
    for split in _SPLITS.value:
        panoptic_json = None if split == "test" else str(root / "annotations" / f"panoptic_{split}2017.json")
        _convert_split(split, root / f"{split}2017", panoptic_json, info)


def _convert_split(split: str, images_dir: pathlib.Path, panoptic_json: str | None, info: DatasetInfo) -> None:
    path = None if panoptic_json is None else pathlib.Path(panoptic_json)
    if path is None:
        sources = image_lists.list_images(images_dir)
    else:
        panoptic_dir = pathlib.Path(_PANOPTIC_DIR.value or path.with_suffix(""))
        content = image_lists.read_panoptic_json(path, images_dir, panoptic_dir, annotations_alone=True)
        advice = "these are not the labels of COCO; data/build_panoptic.py converts any categories"
        known = categories.of_dataset(info)
        categories.check_agreement(content.categories, known, where=str(path), source="COCO's classes", advice=advice)
        sources = content.images
    conversion_flags.convert_split(sources, split, info, annotations=path)


if __name__ == "__main__":
    conversion_flags.run(main)

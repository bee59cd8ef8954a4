"""Converts Cityscapes to TFRecords.

    python data/build_cityscapes.py --cityscapes_root=D --output_dir=O --splits=train,val

reads the official layout: the images leftImg8bit/<split>/<city>/*_leftImg8bit.png and the labels
gtFine/<split>/<city>/*_gtFine_instanceIds.png. If cityscapesScripts' createPanopticImgs.py has created
gtFine/cityscapes_panoptic_<split>_trainId.json or gtFine/cityscapes_panoptic_<split>.json and the folder of the same name, the
labels are read from there; the records are the same either way. Records of the test split have no labels.
"""

import os
import pathlib
import sys

if __name__ == "__main__":  # run from anywhere, without PYTHONPATH
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors arrive as exceptions

from absl import flags  # noqa: E402

from data.conversion import cityscapes_files, conversion_flags  # noqa: E402
from kmax_tf.cli.command_flags import define_path  # noqa: E402
from protos import descriptions  # noqa: E402

_CITYSCAPES_ROOT = define_path("cityscapes_root", "The folder that contains leftImg8bit/ and gtFine/.", required=True)
_SPLITS = flags.DEFINE_list("splits", ["train", "val"], "Splits: train, val, test.")


def main() -> None:
    conversion_flags.check_splits(_SPLITS.value, cityscapes_files.OFFICIAL_IMAGES)
    for split in _SPLITS.value:
        _convert_split(pathlib.Path(_CITYSCAPES_ROOT.value), split)


def _convert_split(root: pathlib.Path, split: str) -> None:
    images, info = cityscapes_files.list_images(root, split), descriptions.load("cityscapes_panoptic")
    if split != "test":
        json_path = cityscapes_files.find_panoptic_json(root, split)
        if json_path:
            print(f"{split}: reading labels from {json_path}", file=sys.stderr)
            images, info = cityscapes_files.with_panoptic_json(images, root, split, json_path, info)
        else:
            images = cityscapes_files.with_instance_ids(images, root, split)
    conversion_flags.convert_split(images, split, info, official_images=cityscapes_files.OFFICIAL_IMAGES[split])


if __name__ == "__main__":
    conversion_flags.run(main)

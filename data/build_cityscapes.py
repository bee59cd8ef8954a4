"""Converts Cityscapes to TFRecords.

    python data/build_cityscapes.py --cityscapes_root=D --output_dir=O --splits=train,val

reads the official layout: the images leftImg8bit/<split>/<city>/*_leftImg8bit.png and the labels
gtFine/<split>/<city>/*_gtFine_instanceIds.png. If cityscapesScripts' createPanopticImgs.py has created
gtFine/cityscapes_panoptic_<split>_trainId.json or gtFine/cityscapes_panoptic_<split>.json and the folder of the same name, the
labels are read from there; the records are the same either way. Records of the test split have no labels.
"""

import pathlib
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # works in a clone that is not installed, too

from absl import flags

from data.conversion import cityscapes_files, conversion_flags
from kmax_tf.cli.command_flags import define_path
from protos import descriptions

_CITYSCAPES_ROOT = define_path("cityscapes_root", "The folder that contains leftImg8bit/ and gtFine/.", required=True)
_SPLITS = flags.DEFINE_list("splits", ["train", "val"], "Splits: train, val, test.")


def main() -> None:
    conversion_flags.check_splits(_SPLITS.value, cityscapes_files.OFFICIAL_IMAGES)
    described = descriptions.load("cityscapes_panoptic")
    for split in _SPLITS.value:
        sources, info = cityscapes_files.list_sources(pathlib.Path(_CITYSCAPES_ROOT.value), split, described)
        conversion_flags.convert_split(sources, split, info, official_images=cityscapes_files.OFFICIAL_IMAGES[split])


if __name__ == "__main__":
    conversion_flags.run(main)

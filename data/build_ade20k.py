"""Converts ADE20K (the 150 classes of the scene parsing challenge) to TFRecords.

    python data/build_ade20k.py --ade20k_root=D --output_dir=O --splits=train,val

reads ADEChallengeData2016: the images images/{training,validation}/*.jpg, the semantic labels
annotations/{training,validation}/*.png and the instances annotations_instance/{training,validation}/*.png, which are a separate
download. If Mask2Former's prepare_ade20k_pan_seg.py has created ade20k_panoptic_{train,val}.json and the folder of the same
name, the labels are read from there; the records are the same either way.
"""

import pathlib
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # works in a clone that is not installed, too

from absl import flags

from data.conversion import ade20k_files, conversion_flags
from kmax_tf.cli.command_flags import define_path
from protos import descriptions

_ADE20K_ROOT = define_path("ade20k_root", "The folder ADEChallengeData2016, which contains images/.", required=True)
_SPLITS = flags.DEFINE_list("splits", ["train", "val"], "Splits: train, val.")


def main() -> None:
    conversion_flags.check_splits(_SPLITS.value, ade20k_files.OFFICIAL_IMAGES)
    info = descriptions.load("ade20k_panoptic")
    for split in _SPLITS.value:
        sources = ade20k_files.list_sources(pathlib.Path(_ADE20K_ROOT.value), split, info)
        conversion_flags.convert_split(sources, split, info, official_images=ade20k_files.OFFICIAL_IMAGES[split])


if __name__ == "__main__":
    conversion_flags.run(main)

"""Converts ADE20K (the 150 classes of the scene parsing challenge) to TFRecords.

    python data/build_ade20k.py --ade20k_root=D --output_dir=O --splits=train,val

reads ADEChallengeData2016: the images images/{training,validation}/*.jpg, the semantic labels
annotations/{training,validation}/*.png and the instances annotations_instance/{training,validation}/*.png, which are a separate
download. If Mask2Former's prepare_ade20k_pan_seg.py has created ade20k_panoptic_{train,val}.json and the folder of the same
name, the labels are read from there; the records are the same either way.
"""

import os
import pathlib
import sys

if __name__ == "__main__":  # run from anywhere, without PYTHONPATH
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors arrive as exceptions

from absl import flags  # noqa: E402

from data.conversion import ade20k_files, conversion_flags  # noqa: E402
from kmax_tf.cli.command_flags import define_path  # noqa: E402
from protos import descriptions  # noqa: E402

_ADE20K_ROOT = define_path("ade20k_root", "The folder ADEChallengeData2016, which contains images/.", required=True)
_SPLITS = flags.DEFINE_list("splits", ["train", "val"], "Splits: train, val.")


def main() -> None:
    conversion_flags.check_splits(_SPLITS.value, ade20k_files.OFFICIAL_IMAGES)
    for split in _SPLITS.value:
        _convert_split(pathlib.Path(_ADE20K_ROOT.value), split)


def _convert_split(root: pathlib.Path, split: str) -> None:
    images, info = ade20k_files.list_images(root, split), descriptions.load("ade20k_panoptic")
    json_path = ade20k_files.find_panoptic_json(root, split)
    if json_path:
        print(f"{split}: reading labels from {json_path}", file=sys.stderr)
        images = ade20k_files.with_panoptic_json(images, root, split, json_path, info)
    else:
        images = ade20k_files.with_two_files(images, root, split)
    conversion_flags.convert_split(images, split, info, official_images=ade20k_files.OFFICIAL_IMAGES[split])


if __name__ == "__main__":
    conversion_flags.run(main)

"""Converts any dataset in COCO panoptic format to TFRecords, and writes its dataset description.

    python data/build_panoptic.py --images_dir=I --panoptic_json=J --panoptic_dir=P --split=train --output_dir=O

writes O/train-*.tfrecord and O/<dataset_name>.textproto, which the conversion of the next split reuses. A config refers to the
description as `dataset: "O/<dataset_name>.textproto"`. Predictions of trainer/predict.py can also be used as labels;
--min_score and --min_area drop uncertain and small segments.
"""

import os
import pathlib
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # works in a clone that is not installed, too
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors of TensorFlow arrive as exceptions

from absl import flags

from data.conversion import conversion_flags, describe, image_lists
from kmax_tf.cli.command_flags import define_path
from kmax_tf.coco_panoptic import categories
from kmax_tf.files.atomic import write_text
from protos import descriptions

_IMAGES_DIR = define_path("images_dir", "Folder of the images.", required=True)
_PANOPTIC_JSON = define_path("panoptic_json", "Annotation file in COCO panoptic format.", required=True)
_PANOPTIC_DIR = define_path("panoptic_dir", "Folder of the PNGs. Default: --panoptic_json without .json.")
_SPLIT = flags.DEFINE_string("split", None, "Name of the split; record file names start with it.", required=True)
_DATASET_NAME = flags.DEFINE_string("dataset_name", None, "Name of the dataset. Default: the name of --output_dir.")
_LABEL_DIVISOR = flags.DEFINE_integer(
    "label_divisor", None, "panoptic_label_divisor. Default: 256, or more if an image has more instances.", lower_bound=2
)
conversion_flags.define_limits()


def main() -> None:
    conversion_flags.check_file_name(_SPLIT)
    conversion_flags.check_file_name(_DATASET_NAME)
    path, output_dir = pathlib.Path(_PANOPTIC_JSON.value), pathlib.Path(conversion_flags.OUTPUT_DIR.value)
    panoptic_dir = pathlib.Path(_PANOPTIC_DIR.value or path.with_suffix(""))
    content = image_lists.read_panoptic_json(path, pathlib.Path(_IMAGES_DIR.value), panoptic_dir)
    name = _DATASET_NAME.value or output_dir.resolve().name
    description = output_dir / f"{name}.textproto"
    if not description.exists():
        text = describe.description_text(name, content, label_divisor=_LABEL_DIVISOR.value, where=str(path))
        write_text(description, text)
    info = descriptions.load(description)
    describe.check_divisor(info, _LABEL_DIVISOR.value, str(description))
    advice = "that file describes other categories; use the same for all splits, or delete it and the records of all splits"
    known = categories.of_dataset(info)
    categories.check_agreement(content.categories, known, where=str(path), source=str(description), advice=advice)
    conversion_flags.convert_split(content.images, _SPLIT.value, info, annotations=path)
    print(f'config: dataset: "{description}"')


if __name__ == "__main__":
    conversion_flags.run(main)

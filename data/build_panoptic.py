"""Converts your own photographs and labels to TFRecords, and writes a description of the classes and a config to train with.

    python data/build_panoptic.py --images_dir=I --panoptic_json=J --panoptic_dir=P --val_share=0.1 --output_dir=O
    python data/build_panoptic.py --images_dir=I --semantic_dir=S --classes=classes.csv --val_share=0.1 --output_dir=O
    python data/build_panoptic.py --images_dir=I --instances_json=J --rest=background --val_share=0.1 --output_dir=O

for labels in COCO panoptic format, for semantic PNGs, and for polygons or masks in COCO instance format. --val_share divides
the images into O/train-*.tfrecord and O/val-*.tfrecord; images that are divided already are converted one part after the other
with --split=train and --split=val. O/<dataset_name>.textproto describes the classes, O/config.textproto is the config.
Predictions of trainer/predict.py can also be used as labels; --min_score and --min_area drop uncertain and small segments.
"""

import os
import pathlib
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # works in a clone that is not installed, too

from absl import flags

from data.conversion import class_table, conversion_flags, describe, image_lists, instance_files, semantic_files
from data.conversion.image_lists import LabeledImages, SourceImage
from data.records.schema import DataError
from data.suggested_config import write_config
from data.suggested_config.choices import SIZES
from kmax_tf.cli.command_flags import define_path
from kmax_tf.coco_panoptic import categories
from kmax_tf.files.atomic import write_text
from protos import descriptions

_IMAGES_DIR = define_path("images_dir", "Folder of the images.")
_PANOPTIC_JSON = define_path("panoptic_json", "Labels: annotation file in COCO panoptic format.")
_PANOPTIC_DIR = define_path("panoptic_dir", "Folder of the PNGs. Default: --panoptic_json without .json.")
_SEMANTIC_DIR = define_path("semantic_dir", "Labels: folder of PNGs with a class in each pixel, named like the images.")
_CLASSES = define_path(
    "classes",
    "With --semantic_dir: a file with a line `value,name,kind,color` per class; kind: stuff (default), thing or void.",
)
_INSTANCES_JSON = define_path("instances_json", "Labels: annotation file in COCO instance format (polygons, run lengths).")
_STUFF = flags.DEFINE_list("stuff", [], "With --instances_json: names of categories that are stuff. Default: all are things.")
_REST = flags.DEFINE_string("rest", None, "With --instances_json: class of stuff of all other pixels. Default: unlabeled.")
_OVERLAPS = flags.DEFINE_enum(
    "overlaps",
    instance_files.OVERLAPS[0],
    instance_files.OVERLAPS,
    "With --instances_json: where annotations overlap, the smaller one (area) or the later one (order) is in front.",
)
_SPLIT = flags.DEFINE_string("split", None, "Name of the split; record file names start with it.")
_VAL_SHARE = flags.DEFINE_float(
    "val_share",
    None,
    "Instead of --split: share of the images for evaluation, chosen by a hash of their names; writes the splits train and val.",
    lower_bound=0.0,
    upper_bound=0.9,
)
_DATASET_NAME = flags.DEFINE_string("dataset_name", None, "Name of the dataset. Default: the name of --output_dir.")
_LABEL_DIVISOR = flags.DEFINE_integer(
    "label_divisor",
    None,
    "panoptic_label_divisor. Default: 256, or more if an image has more instances.",
    lower_bound=2,
    upper_bound=2**31 - 1,
)
_WRITE_CONFIG = flags.DEFINE_bool("write_config", True, "Whether to write config.textproto; one that was edited is kept.")
_SIZE = flags.DEFINE_enum("size", None, SIZES, "Size of the model in the config. Default: base with a GPU, else small.")
_GPU_MEMORY = flags.DEFINE_float(
    "gpu_memory",
    None,
    "GB of memory of the GPU to train on, for the config; 0: the CPU. Default: that of this machine.",
    lower_bound=0,
)
_WEIGHTS = define_path("weights", "Checkpoint or weights that the config starts from, see docs/weights.md. Default: none.")
conversion_flags.define_limits()

# Flags that belong to one kind of labels.
_KINDS = {
    "panoptic_json": ("panoptic_dir", "min_score"),
    "semantic_dir": ("classes",),
    "instances_json": ("stuff", "rest", "overlaps", "min_score"),
}


def main() -> None:
    _check_flags()
    output_dir = pathlib.Path(conversion_flags.OUTPUT_DIR.value)
    path = pathlib.Path(next(flags.FLAGS[kind].value for kind in _KINDS if flags.FLAGS[kind].value))
    content = _read_labels(pathlib.Path(_IMAGES_DIR.value))
    image_lists.require_files(content.images, path)
    if not _SEMANTIC_DIR.value:
        image_lists.note_unlisted(content.images, path)
    name = _DATASET_NAME.value or output_dir.resolve().name
    description = output_dir / f"{name}.textproto"
    if not description.exists():
        text = describe.description_text(name, content, label_divisor=_label_divisor(content), where=str(path))
        write_text(description, text)
    info = descriptions.load(description)
    describe.check_divisor(info, _LABEL_DIVISOR.value, str(description))
    advice = "that file describes other categories; use the same for all splits, or delete it and the records of all splits"
    known = categories.of_dataset(info)
    categories.check_agreement(content.categories, known, where=str(path), source=str(description), advice=advice)
    for split, images in _splits(content).items():
        conversion_flags.convert_split(images, split, info, annotations=path)
    if _WRITE_CONFIG.value:
        options = {
            "size": _SIZE.value,
            "gpu_memory": _GPU_MEMORY.value,
            "weights": _WEIGHTS.value and os.path.abspath(_WEIGHTS.value),
        }
        print(write_config.write_config(output_dir, description, **options))
    else:
        print(f'config: dataset: "{description}"')


def _check_flags() -> None:
    given = [kind for kind in _KINDS if flags.FLAGS[kind].value]
    if len(given) != 1:
        them = f"not {' and '.join(f'--{kind}' for kind in given)} together: " if given else ""
        raise DataError(
            f"labels: {them}give one of --panoptic_json (COCO panoptic format), --semantic_dir with --classes (PNGs with a "
            "class in each pixel) and --instances_json (COCO polygons or masks)"
        )
    if not _IMAGES_DIR.value:
        raise DataError("give --images_dir, the folder of the images")
    for option in sorted({option for options in _KINDS.values() for option in options} - set(_KINDS[given[0]])):
        if flags.FLAGS[option].present:
            raise DataError(f"--{option} has no meaning with --{given[0]}: omit it")
    if _SEMANTIC_DIR.value and not _CLASSES.value:
        raise DataError("give --classes, a file with a line `value,name` for each class of the PNGs")
    if _WEIGHTS.value and not any(os.path.exists(_WEIGHTS.value + ending) for ending in ("", ".index")):
        raise DataError(f"--weights={_WEIGHTS.value}: no such file, folder or checkpoint; docs/weights.md lists public weights")
    if (_SPLIT.value is None) == (_VAL_SHARE.value is None):
        raise DataError(
            "give either --split=train (later --split=val) if the images are divided already, or --val_share=0.1 to set a "
            "tenth of them aside for evaluation"
        )
    conversion_flags.check_file_name(_SPLIT)
    conversion_flags.check_file_name(_DATASET_NAME)


def _read_labels(images_dir: pathlib.Path) -> LabeledImages:
    if not images_dir.is_dir():
        raise DataError(f"--images_dir={images_dir} is not a directory: give the folder of the images")
    if _SEMANTIC_DIR.value:
        table = class_table.read_class_table(pathlib.Path(_CLASSES.value))
        return semantic_files.list_semantic(images_dir, pathlib.Path(_SEMANTIC_DIR.value), table)
    if _INSTANCES_JSON.value:
        path = pathlib.Path(_INSTANCES_JSON.value)
        options = {"stuff": _STUFF.value, "rest": _REST.value, "overlaps": _OVERLAPS.value}
        return instance_files.list_instances(path, images_dir, **options, min_score=flags.FLAGS.min_score)
    path = pathlib.Path(_PANOPTIC_JSON.value)
    panoptic_dir = pathlib.Path(_PANOPTIC_DIR.value or path.with_suffix(""))
    if path.is_file() and not panoptic_dir.is_dir():
        raise DataError(f"{panoptic_dir} is not a directory: give --panoptic_dir, the folder of the PNGs of {path}")
    return image_lists.read_panoptic_json(path, images_dir, panoptic_dir)


def _label_divisor(content: LabeledImages) -> int | None:
    """The divisor for a new description; semantic PNGs do not say how many instances they have."""
    unknown = _SEMANTIC_DIR.value and any(category.is_thing for category in content.categories)
    return _LABEL_DIVISOR.value or (semantic_files.LABEL_DIVISOR if unknown else None)


def _splits(content: LabeledImages) -> dict[str, list[SourceImage]]:
    if _SPLIT.value is not None:
        return {_SPLIT.value: list(content.images)}
    return dict(zip(("train", "val"), image_lists.held_out(content.images, _VAL_SHARE.value)))


if __name__ == "__main__":
    conversion_flags.run(main)

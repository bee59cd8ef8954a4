"""ADE20K: scene parsing (https://github.com/CSAILVision/sceneparsing) and instances (CSAILVision/placeschallenge)."""

import json
import pathlib
import re
from collections.abc import Iterable

import numpy as np
from absl import logging
from pycocotools import mask as rle

from kmax_tf.coco_panoptic import names
from kmax_tf.coco_panoptic.names import Id
from kmax_tf.coco_panoptic.panoptic_files import PanopticFile
from kmax_tf.files.atomic import write_text
from trainer.submission.archive import add_png, archive, class_of, dataset_of, official_name, read_images

_NAME = re.compile("ADE_(train|val|test)_([0-9]{8})")
# Ids of images in imgCatIds.json of the challenge count training, validation and test images from 0, in order of their names.
# The numbers in names have gaps in the test split only.
_FIRST_ID = {"train": 0, "val": 20210, "test": 22210}
_TEST_IMAGES = 3352


def write(predictions: PanopticFile, output_dir: pathlib.Path) -> list[pathlib.Path]:
    """Writes the files of both tasks.

    * scene_parsing.zip: `<image>.png` with a class 1 .. 150 per pixel, 0 where nothing is predicted.
    * instances.json: COCO's result format, with categories 1 .. 100 and the ids of imgCatIds.json. It is left out, with a
      warning, if the predictions are of some test images only, whose ids cannot be derived from their names.

    Raises:
      PanopticFileError: an image is not one of ADE20K, a category is unknown, or a thing has no score.
    """
    info = dataset_of(predictions, "ade20k_panoptic")
    things = {c.id: number for number, c in enumerate((c for c in info.classes if c.is_thing), 1)}
    image_names = {image_id: _name(predictions, image_id) for image_id in predictions.segments}
    numbers = _image_numbers(image_names.values())
    scenes, instances = output_dir / "scene_parsing.zip", output_dir / "instances.json"
    found = []
    with archive(scenes) as packed:
        for image_id, ids in read_images(predictions):
            name, semantic = image_names[image_id], np.zeros(ids.shape, np.uint8)
            for segment_id, record in predictions.segments[image_id].items():
                mask, category = ids == segment_id, class_of(predictions, image_id, record, info)
                semantic[mask] = category.id
                if category.is_thing and name in numbers:
                    code = rle.encode(np.asfortranarray(mask, np.uint8))
                    found.append(
                        {
                            "image_id": numbers[name],
                            "category_id": things[category.id],
                            "segmentation": {"size": code["size"], "counts": code["counts"].decode()},
                            "score": predictions.score(image_id, segment_id, needed_by="instances need"),
                        }
                    )
            add_png(packed, f"{name}.png", semantic)
    if not numbers:
        logging.warning(
            "instances.json is not written: the challenge numbers all %d test images in the order of their names, but %s lacks "
            "some",
            _TEST_IMAGES,
            predictions.path,
        )
        return [scenes]
    write_text(instances, json.dumps(found))
    return [scenes, instances]


def _name(predictions: PanopticFile, image_id: Id) -> str:
    name = names.image_name(str(image_id))
    return official_name(name, _NAME, predictions, image_id, dataset="ADE20K", kind="an image", example="ADE_val_00000001")


def _image_numbers(image_names: Iterable[str]) -> dict[str, int]:
    """Ids of images by name; empty if the names do not determine them."""
    ordered = sorted(image_names)
    test = [name for name in ordered if name.startswith("ADE_test")]
    if test and len(test) != _TEST_IMAGES:
        return {}
    numbers = {name: _FIRST_ID["test"] + position for position, name in enumerate(test)}
    for name in ordered:
        split, number = _NAME.fullmatch(name).groups()
        if split != "test":
            numbers[name] = _FIRST_ID[split] + int(number) - 1
    return numbers

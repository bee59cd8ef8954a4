"""Writes drawn scenes as a dataset in COCO panoptic format."""

import json
import pathlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from data.scenes.scene_drawing import Scene, draw_scene
from kmax_tf.coco_panoptic import categories, pngs
from protos.descriptions import DatasetInfo

_SPLIT_NUMBERS = {"train": 0, "val": 1}
_JPEG_QUALITY = 92

Draw = Callable[[np.random.Generator, DatasetInfo], Scene]


def write_split(
    output_dir: pathlib.Path, split: str, count: int, info: DatasetInfo, *, seed: int, draw: Draw = draw_scene
) -> pathlib.Path:
    """Writes `<output_dir>/<split>/*.jpg`, `annotations/panoptic_<split>.json` and its PNGs; returns the path of the JSON.

    `draw` draws a scene with the classes of `info`. Scene i depends only on (seed, split, i), so a larger dataset starts with
    the scenes of a smaller one.
    """
    images_dir, json_path = output_dir / split, output_dir / "annotations" / f"panoptic_{split}.json"
    labels_dir = json_path.with_suffix("")
    for directory in (images_dir, labels_dir):
        directory.mkdir(parents=True, exist_ok=True)
    category = {c.name: c.category_id for c in info.classes}
    images, annotations = [], []
    for number in range(count):
        rng = np.random.default_rng([seed, _SPLIT_NUMBERS[split], number])
        scene = draw(rng, info)
        name = f"{split}_{number:06d}"
        # Random colors; 0 is the id of pixels without a segment.
        colors = np.sort(1 + rng.choice((1 << 24) - 1, len(scene.segments), replace=False))
        ids = np.zeros(scene.labels.shape, np.int32)
        segments = []
        for segment, color in zip(scene.segments, colors.tolist()):
            mask = scene.labels == segment.label
            ids[mask] = color
            left, top, right, bottom = Image.fromarray(mask).getbbox()
            entry = {"id": color, "category_id": category[segment.class_name], "area": int(mask.sum())}
            segments.append(entry | {"bbox": [left, top, right - left, bottom - top], "iscrowd": int(segment.is_crowd)})
        Image.fromarray(scene.image).save(images_dir / f"{name}.jpg", quality=_JPEG_QUALITY)
        Image.fromarray(pngs.ids_to_rgb(ids)).save(labels_dir / f"{name}.png")
        images.append({"id": number, "file_name": f"{name}.jpg", "height": ids.shape[0], "width": ids.shape[1]})
        annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments})
    content = {"images": images, "annotations": annotations, "categories": categories.from_info(info)}
    json_path.write_text(json.dumps(content))
    return json_path

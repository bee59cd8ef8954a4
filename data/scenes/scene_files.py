"""Writes drawn scenes as a dataset in COCO panoptic format."""

import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from data.scenes.scene_drawing import Scene, draw_scene
from kmax_tf.coco_panoptic import categories, pngs
from protos.descriptions import DatasetInfo

_SPLIT_NUMBERS = {"train": 0, "val": 1}
_JPEG_QUALITY = 92


def write_split(output_dir: pathlib.Path, split: str, count: int, info: DatasetInfo, *, seed: int) -> pathlib.Path:
    """Writes `<output_dir>/<split>/*.jpg`, `annotations/panoptic_<split>.json` and its PNGs; returns the path of the JSON.

    Scene i depends only on (seed, split, i), so a larger dataset starts with the scenes of a smaller one.
    """
    images_dir, json_path = output_dir / split, output_dir / "annotations" / f"panoptic_{split}.json"
    labels_dir = json_path.with_suffix("")
    for directory in (images_dir, labels_dir):
        directory.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        rng = np.random.default_rng([seed, _SPLIT_NUMBERS[split], number])
        scene = draw_scene(rng, info)
        name = f"{split}_{number:06d}"
        ids = _segment_colors(rng, len(scene.segments))
        Image.fromarray(scene.image).save(images_dir / f"{name}.jpg", quality=_JPEG_QUALITY)
        Image.fromarray(_label_png(scene, ids)).save(labels_dir / f"{name}.png")
        height, width = scene.labels.shape
        images.append({"id": number, "file_name": f"{name}.jpg", "height": height, "width": width})
        segments = _segments_info(scene, ids, info)
        annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments})
    content = {"images": images, "annotations": annotations, "categories": categories.from_info(info)}
    json_path.write_text(json.dumps(content))
    return json_path


def _segment_colors(rng: np.random.Generator, count: int) -> list[int]:
    """Distinct segment ids; 0 is reserved for pixels without a segment."""
    ids: set[int] = set()
    while len(ids) < count:
        ids.add(int(rng.integers(1, 1 << 24)))
    return sorted(ids)


def _label_png(scene: Scene, ids: list[int]) -> np.ndarray:
    table = np.zeros(1 + max(s.label for s in scene.segments), np.int64)
    for segment, segment_id in zip(scene.segments, ids, strict=True):
        table[segment.label] = segment_id
    return pngs.ids_to_rgb(table[scene.labels])


def _segments_info(scene: Scene, ids: list[int], info: DatasetInfo) -> list[dict[str, Any]]:
    category = {c.name: c.category_id for c in info.classes}
    described = []
    for segment, segment_id in zip(scene.segments, ids, strict=True):
        rows, columns = np.nonzero(scene.labels == segment.label)
        left, top = int(columns.min()), int(rows.min())
        described.append(
            {
                "id": segment_id,
                "category_id": category[segment.class_name],
                "iscrowd": int(segment.is_crowd),
                "area": len(rows),
                "bbox": [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top],
            }
        )
    return described

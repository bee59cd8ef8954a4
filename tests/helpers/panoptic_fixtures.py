"""A small dataset in COCO panoptic format, and records, for the tests of data/."""

import json
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

from data.conversion import image_lists
from data.records import record_index, schema
from data.records.input_problems import InputProblems
from protos import dataset_pb2, descriptions
from protos.descriptions import ClassInfo, DatasetInfo

INFO = DatasetInfo(
    name="toy_panoptic",
    label_divisor=256,
    ignore_label=0,
    classes=(
        ClassInfo(1, "cat", True, 17, (255, 0, 0)),
        ClassInfo(2, "dog", True, 18, (0, 255, 0)),
        ClassInfo(3, "sky", False, 119, (0, 0, 255)),
        ClassInfo(4, "road", False, 149, (0, 255, 255)),
    ),
)


def segment(segment_id: int, category_id: int, area: int, *, iscrowd: int = 0) -> dict:
    return {"id": segment_id, "category_id": category_id, "area": area, "iscrowd": iscrowd, "bbox": [0, 0, 1, 1]}


def to_rgb(ids: np.ndarray) -> np.ndarray:
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def random_panoptic(rng: np.random.Generator, height: int, width: int, *, instances: int = 3) -> np.ndarray:
    """Blocks of 4 pixels with random classes; things have instance ids 1 .. instances."""
    blocks = (-(-height // 4), -(-width // 4))
    semantic = rng.integers(0, 5, blocks)
    instance = np.where(np.isin(semantic, INFO.thing_ids), rng.integers(1, instances + 1, blocks), 0)
    panoptic = semantic * INFO.label_divisor + instance
    return panoptic.repeat(4, 0).repeat(4, 1)[:height, :width].astype(np.int32)


def encode(image: np.ndarray, image_format: str = "png") -> bytes:
    encoder = tf.io.encode_png if image_format == "png" else tf.io.encode_jpeg
    return encoder(image).numpy()


def write_records(path: pathlib.Path, count: int, *, seed: int = 0, size: tuple[int, int] = (24, 32)) -> list[np.ndarray]:
    """Writes records named img_<seed>_<number>; returns their panoptic maps."""
    rng = np.random.default_rng(seed)
    panoptics = []
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(count):
            image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            panoptics.append(random_panoptic(rng, *size))
            example = schema.build_example(encode(image), "png", f"img_{seed}_{number}", *size, panoptics[-1])
            writer.write(example.SerializeToString())
    return panoptics


def rename_as_coco(json_path: pathlib.Path) -> None:
    """Renames the categories of `write_coco` to COCO's names for their ids."""
    content = json.loads(json_path.read_text())
    names = {c.category_id: c.name for c in descriptions.load("coco_panoptic").classes}
    for category in content["categories"]:
        category["name"] = names[category["id"]]
    json_path.write_text(json.dumps(content))


def write_coco(root: pathlib.Path, count: int = 3, *, size: tuple[int, int] = (12, 16)) -> pathlib.Path:
    """Writes root/images, root/panoptic and root/panoptic.json: sky above road with two cats, a dog and a crowd of dogs."""
    height, width = size
    images, annotations = [], []
    for folder in ("images", "panoptic"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        ids = np.full(size, 300)
        ids[:5] = 70_000 + number
        ids[2:4, 1:4], ids[6:9, 1:3], ids[6:8, 6:9], ids[9:11, 9:14] = 11, 12, 13, 14
        ids[-1] = 0
        categories = {70_000 + number: 119, 300: 149, 11: 17, 12: 17, 13: 18, 14: 18}
        name = f"scene_{number}"
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / "images" / f"{name}.png")
        Image.fromarray(to_rgb(ids)).save(root / "panoptic" / f"{name}.png")
        images.append({"id": 100 + number, "file_name": f"{name}.png", "height": height, "width": width})
        segments = [segment(i, c, int((ids == i).sum()), iscrowd=int(i == 14)) for i, c in categories.items()]
        annotations.append({"image_id": 100 + number, "file_name": f"{name}.png", "segments_info": segments})
    listed = [{"id": c.category_id, "name": c.name, "isthing": int(c.is_thing)} for c in INFO.classes]
    path = root / "panoptic.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": listed}))
    return path


def write_sources(root: pathlib.Path, count: int = 5) -> tuple[image_lists.SourceImage, ...]:
    """Writes the dataset of `write_coco` and lists its images."""
    path = write_coco(root, count)
    return image_lists.read_panoptic_json(path, root / "images", root / "panoptic").images


def read_split(folder: pathlib.Path, split: str = "val") -> list[schema.Record]:
    """Decodes the converted records of a split."""
    files = sorted(str(path) for path in folder.glob(f"{split}-*.tfrecord"))
    return [schema.decode_record(serialized.numpy()) for serialized in tf.data.TFRecordDataset(files)]


def open_records(*patterns: str, problems: InputProblems | None = None) -> record_index.RecordIndex:
    """The index of the records in the files that match the patterns."""
    options = dataset_pb2.DatasetOptions(file_pattern=patterns)
    return record_index.open_sources(options, made_by="data/build_coco.py", problems=problems)[0]

"""Synthetic records for measuring the input pipeline without a dataset: JPEGs of ellipses with the size of small photos."""

import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

from data.records import schema
from kmax_tf.coco_panoptic import pngs
from protos.descriptions import DatasetInfo

# Height and width in pixels.
SIZE = (192, 256)
_COUNT = 64
_SEGMENTS = (4, 14)
_JPEG_QUALITY = 90


def write_drawn_records(path: pathlib.Path, info: DatasetInfo) -> None:
    """Writes 64 records of 192x256 pixels with 5 to 14 segments of a dataset's classes; the records are always the same."""
    rng = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(_COUNT):
            image, panoptic = _draw(rng, info)
            data = pngs.encoded(Image.fromarray(image), "jpeg", quality=_JPEG_QUALITY)
            example = schema.build_example(data, "jpeg", f"drawn_{number}", *SIZE, panoptic)
            writer.write(example.SerializeToString())


def _draw(rng: np.random.Generator, info: DatasetInfo) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    panoptic = np.full(SIZE, rng.choice(info.stuff_ids or info.thing_ids) * info.label_divisor + (not info.stuff_ids))
    image = np.full((*SIZE, 3), rng.integers(0, 256, 3), np.float32)
    for number in range(2, 2 + rng.integers(*_SEGMENTS)):
        row, column = rng.integers(0, SIZE[0]), rng.integers(0, SIZE[1])
        radii = rng.integers(8, 60, 2)
        inside = ((rows - row) / radii[0]) ** 2 + ((columns - column) / radii[1]) ** 2 < 1
        class_id = rng.choice(info.class_order)
        panoptic[inside] = class_id * info.label_divisor + (number if class_id in info.thing_ids else 0)
        image[inside] = rng.integers(0, 256, 3)
    # Waves and noise give the JPEG files the size of photos.
    image += 20 * np.sin(columns / 7)[..., None] + rng.normal(0, 6, image.shape)
    return image.clip(0, 255).astype(np.uint8), panoptic.astype(np.int32)

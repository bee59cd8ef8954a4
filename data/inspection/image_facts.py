"""What one record holds, without its pixels."""

import dataclasses
import hashlib
import io

import numpy as np
from PIL import Image

from data.input.example_reader import Example
from data.records import schema
from kmax_tf.coco_panoptic import pngs
from protos.descriptions import DatasetInfo

_DIGEST_BYTES = 12
_EXIF_ORIENTATION = 0x0112


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """One usable record.

    `digest` identifies the encoded image; `image_format` is its file format and color mode (`JPEG RGB`); `is_turned` tells of
    an EXIF orientation other than upright; `label_format` is that of the record, empty without a label. `segments` int64
    [k, 3] has class id, instance id and area in pixels of each distinct panoptic id, void included.
    """

    name: str
    digest: bytes
    size: tuple[int, int]
    image_format: str
    is_turned: bool
    image_bytes: int
    label_format: str
    label_bytes: int
    segments: np.ndarray


def image_facts(example: Example, info: DatasetInfo) -> ImageFacts:
    """Collects the facts of a record; `info` has classes and coding of its label."""
    encoded, panoptic = example.encoded, example.panoptic
    image_format, is_turned = _read_header(encoded)
    return ImageFacts(
        name=schema.shown_name(example.name),
        digest=hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES).digest(),
        size=example.image.shape[:2],
        image_format=image_format,
        is_turned=is_turned,
        image_bytes=len(encoded),
        label_format=example.label_format,
        label_bytes=example.label_bytes,
        segments=_segments(panoptic, info),
    )


def _segments(panoptic: np.ndarray, info: DatasetInfo) -> np.ndarray:
    areas = np.bincount(panoptic.ravel())
    ids = np.flatnonzero(areas)
    return np.stack([ids // info.label_divisor, ids % info.label_divisor, areas[ids]], axis=-1)


def _read_header(encoded: bytes) -> tuple[str, bool]:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return f"{image.format} {image.mode}", image.getexif().get(_EXIF_ORIENTATION, 1) != 1
    except pngs.UNREADABLE:  # TensorFlow has decoded it, Pillow is stricter
        return "other", False

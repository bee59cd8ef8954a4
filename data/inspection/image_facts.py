"""Facts about one record, without its pixels."""

import dataclasses
import hashlib
import io

import numpy as np
from PIL import Image

from data.records import schema
from data.records.schema import Record
from kmax_tf.coco_panoptic import pngs
from protos.descriptions import DatasetInfo

_DIGEST_BYTES = 12
_EXIF_ORIENTATION = 0x0112


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """One usable record.

    `digest` identifies the encoded image; `image_format` is its file format and color mode (`JPEG RGB`); `is_rotated`: it has
    an EXIF orientation other than upright; `label_format` is empty without a label. `segments` int64 [k, 3] contains class id,
    instance id and area in pixels of each distinct panoptic id, including void.
    """

    name: str
    digest: bytes
    size: tuple[int, int]
    image_format: str
    is_rotated: bool
    label_format: str
    label_bytes: int
    segments: np.ndarray


def image_facts(example: Record, info: DatasetInfo) -> ImageFacts:
    """Collects the facts of a record; `info` describes the classes and the encoding of its label."""
    image_format, is_rotated = _read_header(example.encoded)
    return ImageFacts(
        name=schema.shown_name(example.name),
        digest=hashlib.blake2b(example.encoded, digest_size=_DIGEST_BYTES).digest(),
        size=example.image.shape[:2],
        image_format=image_format,
        is_rotated=is_rotated,
        label_format=example.label_format,
        label_bytes=example.label_bytes,
        segments=_segments(np.zeros(0, int) if example.panoptic is None else example.panoptic, info),
    )


def _segments(panoptic: np.ndarray, info: DatasetInfo) -> np.ndarray:
    areas = np.bincount(panoptic.ravel())
    ids = np.flatnonzero(areas)
    return np.stack([ids // info.label_divisor, ids % info.label_divisor, areas[ids]], axis=-1)


def _read_header(encoded: bytes) -> tuple[str, bool]:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return f"{image.format} {image.mode}", image.getexif().get(_EXIF_ORIENTATION, 1) != 1
    except pngs.UNREADABLE:  # Pillow is stricter than TensorFlow, which decoded the image
        return "other", False

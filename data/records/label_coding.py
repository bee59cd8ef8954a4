"""Encodes and decodes the labels in records.

Labels are panoptic maps, `class id * label divisor + instance id` per pixel, in one of two encodings:

* `png`: a losslessly compressed PNG with R + 256 G + 65536 B = panoptic id; up to 256 ids are stored as a palette, which is
  much faster to read;
* `raw`: the int32 values, little endian, row by row, as DeepLab2 writes them (30 times larger).
"""

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from data.records import label_map
from data.records.errors import DataError
from data.records.label_map import LabelMap
from kmax_tf.coco_panoptic import pngs

LABEL_FORMATS = ("png", "raw")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Byte 24 of a PNG is its bit depth, byte 25 its color type: RGB, palette or RGBA have color.
_PNG_COLORS = (2, 3, 6)
_PALETTE = b"\x03"
_OP_NAMES = re.compile(r"\{\{.*?\}\}|\[Op:\w+\]")


def encode_label(panoptic: np.ndarray, label_format: str = "png") -> bytes:
    """Encodes a panoptic map [h, w] of integers.

    Raises:
      DataError: an id is outside 0 .. 2^24 - 1, the range of `png`.
      ValueError: the format does not exist.
    """
    if label_format == "raw":
        return np.ascontiguousarray(panoptic, dtype="<i4").tobytes()
    if label_format != "png":
        raise ValueError(f"label_format {label_format!r} does not exist: choose one of {', '.join(LABEL_FORMATS)}")
    if panoptic.size and (panoptic.min() < 0 or panoptic.max() >= 1 << 24):
        raise DataError(
            f"panoptic ids {panoptic.min()} .. {panoptic.max()} do not fit into a PNG (0 .. {(1 << 24) - 1}): "
            "use a smaller panoptic_label_divisor, or --label_format=raw"
        )
    ids, index = np.unique(panoptic, return_inverse=True)
    if len(ids) <= 256:
        picture = Image.fromarray(index.reshape(panoptic.shape).astype(np.uint8), mode="P")
        picture.putpalette(pngs.ids_to_rgb(ids).tobytes(), "RGB")
    else:
        picture = Image.fromarray(pngs.ids_to_rgb(panoptic))
    buffer = io.BytesIO()
    picture.save(buffer, format="png")
    return buffer.getvalue()


def decode_label(encoded: bytes, label_format: str, height: int, width: int) -> LabelMap:
    """Decodes the label of an image of `height` x `width` pixels.

    Raises:
      DataError: the format does not exist, the bytes do not decode, or the label has another size.
    """
    if label_format == "raw":
        if len(encoded) != 4 * height * width:
            raise DataError(
                f"the label has {len(encoded)} bytes, not {4 * height * width} for image/height x image/width int32 values: "
                "convert this image again"
            )
        return label_map.from_panoptic(np.frombuffer(encoded, "<i4").reshape(height, width))
    if label_format != "png":
        raise DataError(f"the label's format {label_format!r} is not one of {', '.join(LABEL_FORMATS)}")
    label = _decode_palette(encoded) if encoded[25:26] == _PALETTE else None
    label = label or label_map.from_panoptic(_decode_colors(encoded))
    if label.index.shape != (height, width):
        raise DataError(
            f"the label is {label.index.shape}, but the image is {(height, width)} (height, width): convert this image again"
        )
    return label


def _decode_palette(encoded: bytes) -> LabelMap | None:
    """Decodes a palette PNG; None if the palette repeats a color, which encode_label never writes."""
    try:
        with Image.open(io.BytesIO(encoded), formats=["PNG"]) as picture:
            index = np.asarray(picture)
            colors = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    except Image.DecompressionBombError as error:
        raise DataError(f"the label is too large ({error}): convert this image again") from None
    except pngs.UNREADABLE as error:
        raise DataError(f"the label does not decode ({pngs.reason(error)}): convert this image again") from None
    ids = pngs.rgb_to_ids(colors).astype(np.int64)
    is_distinct = len(set(ids.tolist())) == len(ids) and index.max() < len(ids)
    return LabelMap(ids, index) if is_distinct else None


def _decode_colors(encoded: bytes) -> np.ndarray:
    depth, kind = encoded[24:25], encoded[25:26]
    if encoded.startswith(_PNG_SIGNATURE) and kind and (kind[0] not in _PNG_COLORS or depth[0] > 8):
        raise DataError(
            "the label is a gray or 16-bit PNG, not an RGB PNG with 8 bits per channel (panoptic id = R + 256 G + 65536 B): "
            "convert this image again with data/build_*.py"
        )
    # Four channels can be converted to integers faster than three.
    return pngs.rgb_to_ids(decode_with(tf.raw_ops.DecodePng, "label", contents=encoded, channels=4))


def decode_with(operation: Callable[..., tf.Tensor], what: str, **arguments: Any) -> np.ndarray:
    """Runs a TensorFlow operation that decodes the `what` (image or label) of a record; raises DataError if it fails."""
    try:
        return operation(**arguments).numpy()
    except tf.errors.OpError as error:
        cause = _OP_NAMES.sub("", error.message).strip()
        raise DataError(f"the {what} does not decode ({cause}): convert this image again") from None

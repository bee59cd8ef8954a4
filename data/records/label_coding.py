"""Encodes and decodes the labels in records.

Labels are panoptic maps, `class id * label divisor + instance id` per pixel, in one of two encodings:

* `png`: a losslessly compressed PNG with R + 256 G + 65536 B = panoptic id; up to 256 ids are stored as a palette, which is
  much faster to read;
* `raw`: the int32 values, little endian, row by row, as DeepLab2 writes them (120 times larger on COCO's sample).
"""

import numpy as np
import tensorflow as tf
from PIL import Image

from data.records.errors import DataError
from data.records.graph_checks import require
from data.records.image_header import PNG_HEADER_BYTES, png_header, require_few_pixels
from kmax_tf.coco_panoptic import pngs
from kmax_tf.evaluation.segments import label_runs

LABEL_FORMATS = ("png", "raw")
# Color types of PNGs that have color: RGB, palette and RGBA.
_PNG_COLORS = (2, 3, 6)


def encode_label(panoptic: np.ndarray, label_format: str = "png") -> bytes:
    """Encodes a panoptic map [h, w] of integers.

    Raises:
      DataError: an id is outside 0 .. 2^24 - 1, the range of `png`.
    """
    if label_format == "raw":
        return np.ascontiguousarray(panoptic, dtype="<i4").tobytes()
    if panoptic.size and (panoptic.min() < 0 or panoptic.max() >= 1 << 24):
        raise DataError(
            f"panoptic ids {panoptic.min()} .. {panoptic.max()} do not fit into a PNG (0 .. {(1 << 24) - 1}): "
            "use a smaller panoptic_label_divisor, or --label_format=raw"
        )
    runs = label_runs(panoptic)
    count = len(runs.values)
    if count <= 256:
        picture = Image.fromarray(runs.replaced(np.arange(count, dtype=np.uint8)).reshape(panoptic.shape), mode="P")
        picture.putpalette(pngs.ids_to_rgb(runs.values).tobytes(), "RGB")
    else:
        picture = Image.fromarray(pngs.ids_to_rgb(panoptic))
    return pngs.encoded(picture)


def decode_label(encoded: tf.Tensor, label_format: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """In a graph: decodes the label of an image of `height` x `width` pixels (int64) to panoptic ids, int32 [h, w].

    Raises:
      tf.errors.OpError: the format does not exist, the bytes do not decode, or the label has another size.
    """
    # Errors with bytes that are not UTF-8 could not be shown.
    shown = tf.strings.unicode_transcode(label_format, "UTF-8", "UTF-8")
    problem = "the label's format '", shown, f"' is not one of {', '.join(LABEL_FORMATS)}"
    with tf.control_dependencies([require(tf.reduce_any(label_format == tf.constant(LABEL_FORMATS)), *problem)]):
        label = tf.cond(
            label_format == "raw", lambda: _decode_raw(encoded, height, width), lambda: _decode_png(encoded, height, width)
        )
    return tf.ensure_shape(label, [None, None])


def _decode_raw(encoded: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    size, needed = tf.strings.length(encoded), 4 * height * width
    problem = (
        "the label has ",
        size,
        " bytes, not ",
        needed,
        " for image/height x image/width int32 values: convert this image again",
    )
    with tf.control_dependencies([require(tf.cast(size, tf.int64) == needed, *problem)]):
        return tf.reshape(tf.io.decode_raw(tf.identity(encoded), tf.int32), tf.stack([height, width]))


def _decode_png(encoded: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    # Four channels can be converted to integers faster than three.
    with tf.control_dependencies([_require_colors(encoded), require_few_pixels(encoded, "label")]):
        pixels = tf.raw_ops.DecodePng(contents=tf.identity(encoded), channels=4)
    rows, columns = tf.unstack(tf.shape(pixels, tf.int64)[:2])
    sizes = "the label is (", rows, ", ", columns, "), but the image is (", height, ", ", width, ") (height, width)"
    with tf.control_dependencies([require((rows == height) & (columns == width), *sizes, ": convert this image again")]):
        # A pixel is one little-endian number, with alpha in the top byte.
        return tf.bitwise.bitwise_and(tf.bitcast(pixels, tf.int32), 0x00FFFFFF)


def _require_colors(encoded: tf.Tensor) -> tf.Operation:
    is_png, header = png_header(encoded)
    depth, kind = header[24], header[25]
    is_colored = tf.reduce_any(kind == tf.constant(_PNG_COLORS, tf.uint8)) & (depth <= 8)
    return require(
        is_colored | ~is_png | (tf.strings.length(encoded) < PNG_HEADER_BYTES),
        "the label is a gray or 16-bit PNG, not an RGB PNG with 8 bits per channel (panoptic id = R + 256 G + 65536 B): "
        "convert this image again with data/build_*.py",
    )

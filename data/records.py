"""The TFRecord schema: one tf.train.Example per image, as DeepLab2 reads and writes it.

Labels are panoptic maps, `class id * label divisor + instance id` per pixel. Two codings of them exist:

* `png`: a losslessly compressed RGB PNG with R + 256 G + 65536 B = panoptic id;
* `raw`: the int32 values themselves, little endian, row by row, which is what DeepLab2 writes (30 times larger).
"""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

LABEL_FORMATS = ("png", "raw")
IMAGE_FORMATS = ("jpeg", "png")

_IMAGE_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature((), tf.string),
    "image/filename": tf.io.FixedLenFeature((), tf.string, default_value=""),
    "image/height": tf.io.FixedLenFeature((), tf.int64),
    "image/width": tf.io.FixedLenFeature((), tf.int64),
}
_LABEL_FEATURES = {
    "image/segmentation/class/encoded": tf.io.FixedLenFeature((), tf.string),
    "image/segmentation/class/format": tf.io.FixedLenFeature((), tf.string, default_value="raw"),
}


class DataError(ValueError):
    """Data that cannot be used; the message names the file and what to do."""


def encode_label(panoptic: np.ndarray, label_format: str = "png") -> bytes:
    """Codes a panoptic map [h, w] of integers.

    Raises:
      DataError: `png` cannot hold an id outside 0 .. 2^24 - 1.
      ValueError: there is no such format.
    """
    if label_format == "raw":
        return np.ascontiguousarray(panoptic, dtype="<i4").tobytes()
    if label_format != "png":
        raise ValueError(f"label_format {label_format!r} does not exist: choose one of {', '.join(LABEL_FORMATS)}")
    if panoptic.size and (panoptic.min() < 0 or panoptic.max() >= 1 << 24):
        raise DataError(
            f"panoptic ids {panoptic.min()} .. {panoptic.max()} do not fit a PNG (0 .. {(1 << 24) - 1}): "
            "use a smaller panoptic_label_divisor, or --label_format=raw"
        )
    rgb = np.ascontiguousarray(panoptic, dtype="<u4").view(np.uint8).reshape(*panoptic.shape, 4)[..., :3]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, format="png")
    return buffer.getvalue()


def build_example(
    image: bytes,
    image_format: str,
    filename: str,
    height: int,
    width: int,
    panoptic: np.ndarray | None,
    *,
    label_format: str = "png",
) -> tf.train.Example:
    """The record of one image.

    Args:
      image: encoded JPEG or PNG of `height` x `width` pixels.
      image_format: `jpeg` or `png`.
      filename: name of the image without folder and extension; predictions are reported under it.
      height: pixels.
      width: pixels.
      panoptic: panoptic map [height, width], or None for an image without labels.
      label_format: `png` or `raw`.

    Raises:
      ValueError: a format that does not exist, or a label of another size than the image.
    """
    if image_format not in IMAGE_FORMATS:
        raise ValueError(f"image_format {image_format!r} does not exist: choose one of {', '.join(IMAGE_FORMATS)}")
    features = {
        "image/encoded": _bytes(image),
        "image/filename": _bytes(filename.encode()),
        "image/format": _bytes(image_format.encode()),
        "image/height": _int64(height),
        "image/width": _int64(width),
        "image/channels": _int64(3),
    }
    if panoptic is not None:
        if panoptic.shape != (height, width):
            raise DataError(f"{filename}: the label is {panoptic.shape}, the image is {(height, width)} (height, width)")
        features["image/segmentation/class/encoded"] = _bytes(encode_label(panoptic, label_format))
        features["image/segmentation/class/format"] = _bytes(label_format.encode())
    return tf.train.Example(features=tf.train.Features(feature=features))


def parse_example(serialized: tf.Tensor, *, with_label: bool = True) -> dict[str, tf.Tensor]:
    """Parses and decodes a serialized record, in a graph or eagerly.

    Returns:
      `image` uint8 [h, w, 3], `encoded` (the image's bytes), `filename` string, `height` and `width` int64 as recorded and,
      with labels, `panoptic` int32 [h, w].

    Raises:
      tf.errors.InvalidArgumentError: a key is missing, or bytes do not decode.
    """
    features = _IMAGE_FEATURES | (_LABEL_FEATURES if with_label else {})
    parsed = tf.io.parse_single_example(serialized, features)
    decoded = {
        "image": tf.io.decode_image(parsed["image/encoded"], channels=3, expand_animations=False),
        "encoded": parsed["image/encoded"],
        "filename": parsed["image/filename"],
        "height": parsed["image/height"],
        "width": parsed["image/width"],
    }
    if with_label:
        decoded["panoptic"] = decode_label(
            parsed["image/segmentation/class/encoded"],
            parsed["image/segmentation/class/format"],
            parsed["image/height"],
            parsed["image/width"],
        )
    return decoded


def decode_label(encoded: tf.Tensor, label_format: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """The panoptic map, int32 [h, w], of a label in either coding; `height` and `width` shape a raw one."""

    def from_png() -> tf.Tensor:
        # A fourth channel makes each pixel one little-endian int32 (alpha, 255, in the top byte).
        pixels = tf.bitcast(tf.io.decode_png(encoded, channels=4), tf.int32)
        return tf.bitwise.bitwise_and(pixels, 0x00FFFFFF)

    def from_raw() -> tf.Tensor:
        return tf.reshape(tf.io.decode_raw(encoded, tf.int32, little_endian=True), tf.stack([height, width]))

    return tf.cond(tf.equal(label_format, "png"), from_png, from_raw)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int64(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

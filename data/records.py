"""The TFRecord schema: one tf.train.Example per image, as DeepLab2 reads and writes it.

Labels are panoptic maps, `class id * label divisor + instance id` per pixel. Two codings of them exist:

* `png`: a losslessly compressed PNG with R + 256 G + 65536 B = panoptic id; up to 256 ids are a palette, which is read much
  faster;
* `raw`: the int32 values themselves, little endian, row by row, which is what DeepLab2 writes (30 times larger).
"""

import dataclasses
import io
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from PIL import Image

from data import label_map
from data.label_map import LabelMap
from kmax_tf.coco_panoptic import pngs
from protos.errors import UserError

LABEL_FORMATS = ("png", "raw")
IMAGE_FORMATS = ("jpeg", "png")
_NO_NAME = "image without a name"
_LABEL = "image/segmentation/class/encoded"
_LABEL_FORMAT = "image/segmentation/class/format"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Byte 24 of a PNG is its bit depth, byte 25 its kind: RGB, palette or RGBA are colours.
_PNG_COLOURS = (2, 3, 6)
_PALETTE = b"\x03"
_NAMES_OF_OPS = re.compile(r"\{\{.*?\}\}|\[Op:\w+\]")


class DataError(UserError):
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
    ids, index = np.unique(panoptic, return_inverse=True)
    if len(ids) <= 256:
        picture = Image.fromarray(index.reshape(panoptic.shape).astype(np.uint8), mode="P")
        picture.putpalette(pngs.ids_to_rgb(ids).tobytes(), "RGB")
    else:
        picture = Image.fromarray(pngs.ids_to_rgb(panoptic))
    buffer = io.BytesIO()
    picture.save(buffer, format="png")
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
        features[_LABEL] = _bytes(encode_label(panoptic, label_format))
        features[_LABEL_FORMAT] = _bytes(label_format.encode())
    return tf.train.Example(features=tf.train.Features(feature=features))


@dataclasses.dataclass(frozen=True)
class Record:
    """A decoded record.

    `name` identifies the image, `encoded` holds its bytes, `image` is uint8 [h, w, 3], `label` None if it was not asked for.
    `label_format` is its coding (empty without a label) and `label_bytes` the size of that.
    """

    name: bytes
    encoded: bytes
    image: np.ndarray
    label: LabelMap | None
    label_format: str
    label_bytes: int

    @property
    def panoptic(self) -> np.ndarray | None:
        """Panoptic id of each pixel, int32 [h, w]."""
        return self.label and self.label.panoptic


def parse_features(serialized: bytes) -> Mapping[str, tf.train.Feature]:
    """The features of a serialized record.

    Raises:
      DataError: the bytes are no tf.train.Example.
    """
    try:
        return tf.train.Example.FromString(serialized).features.feature
    except DecodeError as error:
        raise DataError(f"is no tf.train.Example ({error}): convert it again") from None


def shown_name(name: bytes) -> str:
    """The name of an image as messages have it."""
    return name.decode(errors="replace") or _NO_NAME


def image_name(features: Mapping[str, tf.train.Feature]) -> str:
    """shown_name of the image of a record."""
    return shown_name(_raw_name(features))


def decode_record(serialized: bytes, *, with_label: bool = True) -> Record:
    """parse_features and decode_features in one."""
    return decode_features(parse_features(serialized), with_label=with_label)


def decode_features(features: Mapping[str, tf.train.Feature], *, with_label: bool = True) -> Record:
    """Decodes a record; image and label have the size that it states.

    Raises:
      DataError: a key is missing, bytes do not decode, or sizes contradict each other.
    """
    height, width = (_number(features, f"image/{side}") for side in ("height", "width"))
    encoded = _value(features, "image/encoded")
    image = _decode(tf.raw_ops.DecodeImage, "image", contents=encoded, channels=3, expand_animations=False)
    if image.shape[:2] != (height, width):
        raise DataError(
            f"the image is {image.shape[:2]}, but image/height and image/width say {(height, width)}: convert it again"
        )
    label = _decode_label(features, height, width) if with_label else None
    coding = (_label_format(features), len(_value(features, _LABEL))) if label else ("", 0)
    return Record(_raw_name(features), encoded, image, label, *coding)


def _raw_name(features: Mapping[str, tf.train.Feature]) -> bytes:
    names = features["image/filename"].bytes_list.value if "image/filename" in features else ()
    return names[0] if names else b""


def _decode_label(features: Mapping[str, tf.train.Feature], height: int, width: int) -> LabelMap:
    if _LABEL not in features:
        raise DataError(
            "it has no label: evaluate labelled records, or set decode_groundtruth_label: false to predict without metrics"
        )
    encoded = _value(features, _LABEL)
    label_format = _label_format(features)
    if label_format == "raw":
        if len(encoded) != 4 * height * width:
            raise DataError(
                f"the label has {len(encoded)} bytes, not the {4 * height * width} of image/height x image/width int32 values: "
                "convert this image again"
            )
        return label_map.from_panoptic(np.frombuffer(encoded, "<i4").reshape(height, width))
    if label_format != "png":
        raise DataError(f"{_LABEL_FORMAT} {label_format!r} is not one of {', '.join(LABEL_FORMATS)}")
    label = _decode_palette(encoded) if encoded[25:26] == _PALETTE else None
    label = label or label_map.from_panoptic(_decode_colours(encoded))
    if label.index.shape != (height, width):
        raise DataError(
            f"the label is {label.index.shape}, the image {(height, width)}, height and width: convert this image again"
        )
    return label


def _label_format(features: Mapping[str, tf.train.Feature]) -> str:
    values = features[_LABEL_FORMAT].bytes_list.value if _LABEL_FORMAT in features else ()
    return values[0].decode(errors="replace") if values else "raw"


def _decode_palette(encoded: bytes) -> LabelMap | None:
    """The label of a palette PNG; None if the palette repeats a colour, as encode_label's do not."""
    try:
        with Image.open(io.BytesIO(encoded), formats=["PNG"]) as picture:
            index = np.asarray(picture)
            colours = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    except Image.DecompressionBombError as error:
        raise DataError(f"the label is too large ({error}): convert this image again") from None
    except pngs.UNREADABLE as error:
        raise DataError(f"the label does not decode ({pngs.reason(error)}): convert this image again") from None
    ids = pngs.rgb_to_ids(colours).astype(np.int64)
    is_distinct = len(set(ids.tolist())) == len(ids) and index.max() < len(ids)
    return LabelMap(ids, index) if is_distinct else None


def _decode_colours(encoded: bytes) -> np.ndarray:
    depth, kind = encoded[24:25], encoded[25:26]
    if encoded.startswith(_PNG_SIGNATURE) and kind and (kind[0] not in _PNG_COLOURS or depth[0] > 8):
        raise DataError(
            "the label is a grey PNG or one of 16 bits, not RGB of 8 bits (panoptic id = R + 256 G + 65536 B): convert this "
            "image again with data/build_*.py"
        )
    # Four channels are fast to make numbers of.
    return pngs.rgb_to_ids(_decode(tf.raw_ops.DecodePng, "label", contents=encoded, channels=4))


def _decode(operation: Callable[..., tf.Tensor], what: str, **arguments: Any) -> np.ndarray:
    try:
        return operation(**arguments).numpy()
    except tf.errors.OpError as error:
        cause = _NAMES_OF_OPS.sub("", error.message).strip()
        raise DataError(f"the {what} does not decode ({cause}): convert this image again") from None


def _value(features: Mapping[str, tf.train.Feature], key: str) -> bytes:
    values = features[key].bytes_list.value if key in features else ()
    if len(values) != 1:
        raise DataError(f"it has no {key}: these are not records of data/build_*.py")
    return values[0]


def _number(features: Mapping[str, tf.train.Feature], key: str) -> int:
    values = features[key].int64_list.value if key in features else ()
    if len(values) != 1:
        raise DataError(f"it has no {key}: these are not records of data/build_*.py")
    return values[0]


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int64(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

"""The TFRecord schema: one tf.train.Example per image, compatible with DeepLab2. For labels see label_coding."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from data.records.errors import DataError
from data.records.label_coding import decode_label, decode_with, encode_label
from data.records.label_map import LabelMap

IMAGE_FORMATS = ("jpeg", "png")
LABEL = "image/segmentation/class/encoded"
_NO_NAME = "image without a name"
_LABEL_FORMAT = "image/segmentation/class/format"


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
    """Builds the record of one image.

    Args:
      image: encoded JPEG or PNG of `height` x `width` pixels.
      image_format: one of IMAGE_FORMATS.
      filename: name of the image (names.image_name), which identifies its predictions.
      height: pixels.
      width: pixels.
      panoptic: panoptic map [height, width], or None for an image without labels.
      label_format: `png` or `raw`.

    Raises:
      DataError: the label has another size than the image, or an id that its format cannot store.
    """
    strings = {"image/encoded": image, "image/filename": filename.encode(), "image/format": image_format.encode()}
    if panoptic is not None:
        if panoptic.shape != (height, width):
            raise DataError(f"{filename}: the label is {panoptic.shape}, but the image is {(height, width)} (height, width)")
        strings |= {LABEL: encode_label(panoptic, label_format), _LABEL_FORMAT: label_format.encode()}
    example = tf.train.Example()
    for key, value in strings.items():
        example.features.feature[key].bytes_list.value.append(value)
    for key, value in {"height": height, "width": width, "channels": 3}.items():
        example.features.feature[f"image/{key}"].int64_list.value.append(value)
    return example


@dataclasses.dataclass(frozen=True)
class Record:
    """A decoded record.

    `name` identifies the image, `encoded` are its bytes, `image` is uint8 [h, w, 3], `label` is None if it was not requested.
    `label_format` is the encoding of the label (empty without one) and `label_bytes` its size.
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
    """The features of a serialized record; raises DataError if it is not a tf.train.Example."""
    try:
        return tf.train.Example.FromString(serialized).features.feature
    except DecodeError as error:
        raise DataError(f"the record is not a tf.train.Example ({error}): convert it again") from None


def shown_name(name: bytes) -> str:
    """The name of an image for messages."""
    return name.decode(errors="replace") or _NO_NAME


def image_name(features: Mapping[str, tf.train.Feature]) -> str:
    """shown_name of the image of a record."""
    return shown_name(_string(features, "image/filename"))


def decode_record(serialized: bytes, *, with_label: bool = True) -> Record:
    """Combines parse_features and decode_features."""
    return decode_features(parse_features(serialized), with_label=with_label)


def decode_features(features: Mapping[str, tf.train.Feature], *, with_label: bool = True) -> Record:
    """Decodes a record.

    Raises:
      DataError: a key is missing, bytes do not decode, or the sizes of image and label differ from those in the record.
    """
    height, width = (_value(features, f"image/{side}", "int64_list") for side in ("height", "width"))
    encoded = _value(features, "image/encoded")
    image = decode_with(tf.raw_ops.DecodeImage, "image", contents=encoded, channels=3, expand_animations=False)
    if image.shape[:2] != (height, width):
        raise DataError(
            f"the image is {image.shape[:2]}, but image/height and image/width are {(height, width)}: convert it again"
        )
    label, label_format, label_bytes = None, "", b""
    if with_label:
        if LABEL not in features:
            advice = "use labeled records, or set decode_groundtruth_label: false to predict without metrics"
            raise DataError(f"the record has no label: {advice}")
        label_bytes = _value(features, LABEL)
        label_format = _string(features, _LABEL_FORMAT).decode(errors="replace") or "raw"
        label = decode_label(label_bytes, label_format, height, width)
    return Record(_string(features, "image/filename"), encoded, image, label, label_format, len(label_bytes))


def _string(features: Mapping[str, tf.train.Feature], key: str) -> bytes:
    """An optional value, empty if it is missing."""
    values = features[key].bytes_list.value if key in features else ()
    return values[0] if values else b""


def _value(features: Mapping[str, tf.train.Feature], key: str, kind: str = "bytes_list") -> Any:
    values = getattr(features[key], kind).value if key in features else ()
    if len(values) != 1:
        raise DataError(f"the record has no {key}: convert the dataset with data/build_*.py")
    return values[0]

"""The TFRecord schema: one tf.train.Example per image, compatible with DeepLab2. For labels see label_coding."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from data.records import label_coding, segments
from data.records.errors import DataError
from data.records.graph_checks import failure_message, require
from data.records.image_header import require_few_pixels
from protos.descriptions import DatasetInfo

_NO_NAME = "image without a name"
_IMAGE, _NAME, _HEIGHT, _WIDTH = "image/encoded", "image/filename", "image/height", "image/width"
LABEL = "image/segmentation/class/encoded"
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
      image_format: jpeg or png.
      filename: name of the image (names.image_name), which identifies its predictions.
      height: pixels.
      width: pixels.
      panoptic: panoptic map [height, width], or None for an image without labels.
      label_format: `png` or `raw`.

    Raises:
      DataError: the label has an id that its format cannot store.
    """
    strings = {_IMAGE: image, _NAME: filename.encode(), "image/format": image_format.encode()}
    if panoptic is not None:
        strings |= {LABEL: label_coding.encode_label(panoptic, label_format), _LABEL_FORMAT: label_format.encode()}
    example = tf.train.Example()
    for key, value in strings.items():
        example.features.feature[key].bytes_list.value.append(value)
    for key, value in {_HEIGHT: height, _WIDTH: width, "image/channels": 3}.items():
        example.features.feature[key].int64_list.value.append(value)
    return example


def decode_example(serialized: tf.Tensor, *, with_label: bool, info: DatasetInfo | None) -> dict[str, tf.Tensor]:
    """In a graph: decodes a serialized tf.train.Example, and checks the classes of its label if `info` describes them.

    Returns:
      `image_name` string, `encoded` string (the image's bytes), `image` uint8 [h, w, 3] and, with a label, `panoptic` int32
      [h, w], the panoptic id of each pixel.

    Raises:
      tf.errors.OpError: a feature is missing, bytes do not decode, the sizes of image and label differ from those in the
        record, or as segments.require_classes. graph_checks.failure_message says which.
    """
    kinds = {_IMAGE: tf.string, _NAME: tf.string, _HEIGHT: tf.int64, _WIDTH: tf.int64}
    kinds |= {LABEL: tf.string, _LABEL_FORMAT: tf.string} if with_label else {}
    features = tf.io.parse_single_example(
        serialized, {key: tf.io.FixedLenSequenceFeature([], kind, allow_missing=True) for key, kind in kinds.items()}
    )
    encoded, height, width = (_only(features, key) for key in (_IMAGE, _HEIGHT, _WIDTH))
    with tf.control_dependencies([require_few_pixels(encoded, "image")]):
        image = tf.raw_ops.DecodeImage(contents=encoded, channels=3, expand_animations=False)
    image = tf.ensure_shape(image, [None, None, 3])
    rows, columns = tf.unstack(tf.shape(image, tf.int64)[:2])
    sizes = "the image is (", rows, ", ", columns, "), but image/height and image/width are (", height, ", ", width, ")"
    with tf.control_dependencies([require((rows == height) & (columns == width), *sizes, ": convert it again")]):
        result = {"image_name": _first(features[_NAME], ""), "encoded": encoded, "image": tf.identity(image)}
        if with_label:
            label = _only(features, LABEL), _first(features[_LABEL_FORMAT], "raw")
            panoptic = label_coding.decode_label(*label, rows, columns)
            with tf.control_dependencies([segments.require_classes(panoptic, info)] if info else []):
                result["panoptic"] = tf.identity(panoptic)
    return result


def _only(features: Mapping[str, tf.Tensor], key: str) -> tf.Tensor:
    missing = f"the record has no {key}: convert the dataset with data/build_*.py"
    if key == LABEL:
        missing = (
            "the record has no label: use labeled records, or set decode_groundtruth_label: false to predict without metrics"
        )
    with tf.control_dependencies([require(tf.size(features[key]) == 1, missing)]):
        return tf.identity(features[key])[0]


def _first(values: tf.Tensor, default: str) -> tf.Tensor:
    return tf.concat([values, [default]], 0)[0]


@dataclasses.dataclass(frozen=True)
class Record:
    """A decoded record.

    `name` identifies the image, `encoded` are its bytes, `image` is uint8 [h, w, 3], `panoptic` int32 [h, w] or None if it was
    not requested. `label_format` is the encoding of the label (empty without one) and `label_bytes` its size.
    """

    name: bytes
    encoded: bytes
    image: np.ndarray
    panoptic: np.ndarray | None
    label_format: str
    label_bytes: int


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
    names = features[_NAME].bytes_list.value if _NAME in features else ()
    return shown_name(names[0] if names else b"")


def decode_record(serialized: bytes, *, with_label: bool = True, info: DatasetInfo | None = None) -> Record:
    """Decodes a record outside of a graph, and checks the classes of its label if `info` describes them.

    Raises:
      DataError: the record is not a tf.train.Example, or as decode_example.
    """
    features = parse_features(serialized)
    try:
        tensors = _decoder(with_label, info)(tf.constant(serialized))
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise DataError(failure_message(error)) from None
    image, panoptic = tensors["image"].numpy(), tensors["panoptic"].numpy() if with_label else None
    coding = (_label_format(features), len(features[LABEL].bytes_list.value[0])) if with_label else ("", 0)
    return Record(tensors["image_name"].numpy(), tensors["encoded"].numpy(), image, panoptic, *coding)


@functools.cache
def _decoder(with_label: bool, info: DatasetInfo | None) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def decode(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.device("CPU:0"):
            return decode_example(serialized, with_label=with_label, info=info)

    return decode


def _label_format(features: Mapping[str, tf.train.Feature]) -> str:
    values = features[_LABEL_FORMAT].bytes_list.value if _LABEL_FORMAT in features else ()
    return values[0].decode(errors="replace") if values else "raw"

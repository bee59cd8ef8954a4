"""Records with one defect each, for the tests of the input pipeline."""

import pathlib

import numpy as np
import tensorflow as tf
from panoptic_fixtures import encode, random_panoptic

from data.records import label_coding, schema

_SIZE = (20, 30)


def bad_record(kind: str) -> bytes:
    """A record named `street` with the defect `kind`; `none` has no defect, `bytes` is not a record at all."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*_SIZE, 3), dtype=np.uint8)
    panoptic = random_panoptic(rng, *_SIZE)
    encoded = encode(image, "jpeg")
    if kind == "class":
        panoptic[3, 4] = 9 * 256
    elif kind == "divisor":
        panoptic = panoptic // 256 * 1000 + panoptic % 256
    example = schema.build_example(encoded, "jpeg", "street", *_SIZE, panoptic, label_format="raw")
    features = example.features.feature
    if kind == "jpeg":
        features["image/encoded"].bytes_list.value[0] = encoded[:-300]
    elif kind == "jpeg bytes":
        features["image/encoded"].bytes_list.value[0] = b"\xff\xd8 no jpeg" + encoded[:50]
    elif kind == "label size":
        features["image/segmentation/class/encoded"].bytes_list.value[0] = panoptic[:-1].tobytes()
    elif kind in ("png label size", "png label"):
        cut = slice(None, -1) if kind == "png label size" else slice(None)
        label = label_coding.encode_label(panoptic[cut])
        features["image/segmentation/class/encoded"].bytes_list.value[0] = label if kind == "png label size" else label[:-40]
        features["image/segmentation/class/format"].bytes_list.value[0] = b"png"
    elif kind == "gray label":
        features["image/segmentation/class/encoded"].bytes_list.value[0] = tf.io.encode_png(
            tf.cast(panoptic[..., None], tf.uint16)
        ).numpy()
        features["image/segmentation/class/format"].bytes_list.value[0] = b"png"
    elif kind == "label format":
        features["image/segmentation/class/format"].bytes_list.value[0] = b"zip"
    elif kind == "image size":
        features["image/height"].int64_list.value[0], features["image/width"].int64_list.value[0] = 30, 20
    elif kind == "key":
        del features["image/encoded"]
    elif kind == "no label":
        del features["image/segmentation/class/encoded"]
    return b"\xff\xff" if kind == "bytes" else example.SerializeToString()


def write_bad_records(path: pathlib.Path, *kinds: str) -> None:
    """Writes one record of each kind."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for kind in kinds:
            writer.write(bad_record(kind))

"""Records with all kinds of damage either decode or raise a DataError."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from panoptic_fixtures import encode, random_panoptic

from data.records import schema
from data.records.schema import DataError

_LABEL = "image/segmentation/class/encoded"
_KINDS = ("palette", "colors", "raw")


def _record(kind: str) -> tf.train.Example:
    rng = np.random.default_rng(0)
    panoptic = np.arange(400).reshape(20, 20) * 7 if kind == "colors" else random_panoptic(rng, 12, 16)
    image = rng.integers(0, 256, (*panoptic.shape, 3), dtype=np.uint8)
    label_format = "raw" if kind == "raw" else "png"
    return schema.build_example(encode(image), "png", "a", *panoptic.shape, panoptic, label_format=label_format)


def _with_label(example: tf.train.Example, label: bytes) -> bytes:
    changed = tf.train.Example.FromString(example.SerializeToString())
    changed.features.feature[_LABEL].bytes_list.value[:] = [label]
    return changed.SerializeToString()


def _count_usable(serialized: list[bytes]) -> int:
    """Counts records that decode; fails with any error except DataError."""
    usable = 0
    for data in serialized:
        try:
            schema.decode_record(data)
            usable += 1
        except DataError as error:
            assert str(error)
    return usable


@pytest.mark.parametrize("kind", _KINDS)
def test_truncated_labels(kind):
    example = _record(kind)
    (label,) = example.features.feature[_LABEL].bytes_list.value
    # Decoders may accept a PNG without its end.
    end = 0 if kind == "raw" else 40
    assert _count_usable([_with_label(example, label[:k]) for k in range(len(label) - end)]) == 0
    assert _count_usable([_with_label(example, label)]) == 1


def test_the_first_bytes_of_a_png_are_not_a_label():
    example = _record("colors")
    (label,) = example.features.feature[_LABEL].bytes_list.value
    for length in range(26):
        with pytest.raises(DataError, match="label"):
            schema.decode_record(_with_label(example, label[:length]))


@pytest.mark.parametrize("kind", _KINDS)
def test_truncated_records(kind):
    data = _record(kind).SerializeToString()
    assert _count_usable([data[:k] for k in range(0, len(data), 3)]) == 0


def _repair_checksums(png: bytes) -> bytes:
    repaired, position = bytearray(png[:8]), 8
    while position + 12 <= len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        body = png[position + 4 : position + 8 + length]
        repaired += png[position : position + 4] + body + struct.pack(">I", zlib.crc32(body))
        position += 12 + length
    return bytes(repaired)


@pytest.mark.parametrize("kind", _KINDS)
def test_changed_bytes(kind):
    example, rng = _record(kind), np.random.default_rng(1)
    (label,) = example.features.feature[_LABEL].bytes_list.value
    whole, changed = example.SerializeToString(), []
    for _ in range(250):
        record, damaged = bytearray(whole), bytearray(label)
        record[rng.integers(len(record))] ^= 1 << int(rng.integers(8))
        damaged[rng.integers(min(len(damaged), 90))] = int(rng.integers(256))
        changed += [bytes(record), _with_label(example, bytes(damaged) if kind == "raw" else _repair_checksums(bytes(damaged)))]
    assert 0 < _count_usable(changed) < len(changed)


@pytest.mark.parametrize("key", sorted(_record("raw").features.feature))
def test_fields_with_another_type_or_size(key):
    changed = []
    for number in (-1, 0, 1 << 40, (1 << 63) - 1):
        example = _record("raw")
        example.features.feature[key].int64_list.value[:] = [number]
        changed.append(example.SerializeToString())
    for text in (b"", b"\xff\xfe", b"GIF89a", b"BM" + bytes(60)):
        example = _record("palette")
        example.features.feature[key].bytes_list.value[:] = [text]
        changed.append(example.SerializeToString())
    _count_usable(changed)

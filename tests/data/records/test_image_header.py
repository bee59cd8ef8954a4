"""Images that claim to be huge: they are refused before memory is taken for them."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from panoptic_fixtures import INFO, encode, open_records, random_panoptic

from data.records import record_index, schema
from data.records.schema import DataError
from kmax_tf.coco_panoptic.pngs import MOST_PIXELS

_SIZE = (20, 30)


def _png(height: int, width: int) -> bytes:
    """A PNG without pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + bytes(40)


def _jpeg(height: int, width: int) -> bytes:
    data = bytearray(encode(np.zeros([*_SIZE, 3], np.uint8), "jpeg"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def _refusal(key: str, data: bytes) -> str:
    image = np.zeros([*_SIZE, 3], np.uint8)
    example = schema.build_example(encode(image), "png", "street", *_SIZE, random_panoptic(np.random.default_rng(0), *_SIZE))
    example.features.feature[key].bytes_list.value[0] = data
    with pytest.raises(DataError) as caught:
        schema.decode_record(example.SerializeToString(), info=INFO)
    return str(caught.value)


@pytest.mark.parametrize("size", [(8193, 8192), (1, MOST_PIXELS + 1), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1), (2**31, 1)])
@pytest.mark.parametrize(("key", "what"), [("image/encoded", "image"), (schema.LABEL, "label")])
def test_huge_pngs(key, what, size):
    message = _refusal(key, _png(*size))
    assert message.startswith(f"the {what} has ") and f"pixels, more than the {MOST_PIXELS}" in message
    assert size[0] > 2**31 - 1 or f"{size[0]} x {size[1]}" in message


@pytest.mark.parametrize("size", [(65500, 65500), (8192, 8193)])
def test_huge_jpegs(size):
    assert f"the image has {size[0]} x {size[1]} (height x width) pixels" in _refusal("image/encoded", _jpeg(*size))


@pytest.mark.parametrize("size", [(8192, 8192), (MOST_PIXELS, 1), (0, 5)])
def test_other_sizes_are_left_to_the_decoder(size):
    assert "the image does not decode" in _refusal("image/encoded", _png(*size))


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", _png(5, 5)[:20], b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0"])
def test_headers_that_are_cut_off(data):
    assert "the image does not decode" in _refusal("image/encoded", data)


@pytest.mark.parametrize("data", [b"GIF89a" + b"\xff" * 40, b"RIFF" + bytes(4) + b"WEBPVP8L" + b"\xff" * 40])
def test_animations_are_refused(data):
    assert "the image is not a JPEG or PNG" in _refusal("image/encoded", data)


def test_huge_records_are_not_read(tmp_path):
    """A sparse file: it takes no space on the disk."""
    path, length = tmp_path / "a.tfrecord", record_index.MOST_RECORD_BYTES + 1
    header = struct.pack("<Q", length)
    with path.open("wb") as file:
        file.write(header + struct.pack("<I", record_index._masked_crc(header)))
        file.truncate(16 + length)
    with pytest.raises(DataError, match=rf"a.tfrecord: record 0 .byte 0. has {length} bytes, more than"):
        open_records(str(path))


def test_the_limit_leaves_room_for_records_without_compression():
    assert 3 * MOST_PIXELS + 4 * MOST_PIXELS < record_index.MOST_RECORD_BYTES < tf.int32.max

"""Indexes with valid checksums and invalid entries, which end the process inside of TensorFlow's reader."""

import struct

import google_crc32c
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import tensor_bundle_pb2

from kmax_tf.checkpoints.errors import CheckpointError
from kmax_tf.checkpoints.index_check import _block_entries, _entries, _varints
from kmax_tf.checkpoints.tensorflow_files import read_checkpoint

_VALUES = {
    "model/a": np.ones([3, 4], np.float32),
    "model/b": np.zeros([], np.int64),
    "model/c": np.array([b"x", b"yz"], object),
}


@pytest.fixture
def prefix(tmp_path) -> str:
    names, tensors = [*_VALUES], [tf.constant(value) for value in _VALUES.values()]
    tf.raw_ops.SaveV2(prefix=str(tmp_path / "x"), tensor_names=names, shape_and_slices=[""] * 3, tensors=tensors)
    return str(tmp_path / "x")


def _rewrite(prefix: str, old: bytes, new: bytes) -> None:
    """Replaces bytes of an entry by as many others, and corrects the checksum of their block."""
    path = f"{prefix}.index"
    data = open(path, "rb").read()
    assert len(old) == len(new) and data.count(old) == 1
    (_, _, start, size), _ = _varints(data[-48:], 4, 0)
    ((_, handle),) = _block_entries(data, start, size)
    (start, size), _ = _varints(handle, 2, 0)
    block = bytearray(data[start : start + size + 1].replace(old, new))
    crc = google_crc32c.value(bytes(block))
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    with open(path, "wb") as file:
        file.write(data[:start] + block + struct.pack("<I", masked) + data[start + size + 5 :])


def test_entries_are_those_of_tensorflow(prefix):
    entries = dict(_entries(open(f"{prefix}.index", "rb").read()))
    assert sorted(entries) == [b"", *(name.encode() for name in _VALUES)]
    entry = tensor_bundle_pb2.BundleEntryProto.FromString(entries[b"model/a"])
    assert ([side.size for side in entry.shape.dim], entry.size) == ([3, 4], 48)
    shapes, read = read_checkpoint(prefix)
    assert shapes == {"model/a": [3, 4], "model/b": [], "model/c": [2]}


@pytest.mark.parametrize(
    ("start", "change"),
    [
        ("no entry", b"\xff\xff"),
        ("no type", b"\x08\x00"),
        ("unknown type", b"\x08\x7b"),
    ],
)
def test_invalid_entries(prefix, start, change):
    entry = dict(_entries(open(f"{prefix}.index", "rb").read()))[b"model/a"]
    assert entry.startswith(b"\x08\x01"), "the type comes first"
    _rewrite(prefix, entry, change + entry[2:])
    _refused(prefix)


@pytest.mark.parametrize(
    ("old", "new"), [(b"\x08\x03", b"\x08\x04"), (b"\x08\x03", b"\x08\x7f"), (b"\x12\x02\x08\x03", b"\x18\x01\x18\x01")]
)
def test_invalid_shapes(prefix, old, new):
    entry = dict(_entries(open(f"{prefix}.index", "rb").read()))[b"model/a"]
    assert entry.count(old) == 1
    _rewrite(prefix, entry, entry.replace(old, new))
    _refused(prefix)


def _refused(prefix: str) -> None:
    with pytest.raises(CheckpointError, match="x: damaged, or not a checkpoint: the index has an invalid entry") as caught:
        read_checkpoint(prefix)
    assert caught.value.damaged and "\n" not in str(caught.value)

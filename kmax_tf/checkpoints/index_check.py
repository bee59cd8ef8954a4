"""Checks the index of a TensorFlow checkpoint: its reader ends the whole process if an entry is invalid.

The index `<prefix>.index` is a table in the format of LevelDB (https://github.com/google/leveldb, doc/table_format.md), which
maps names of tensors to BundleEntryProto; the entry of the empty name is a BundleHeaderProto.
"""

import math
import struct
from collections.abc import Iterator

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import tensor_bundle_pb2

_FOOTER_BYTES = 48
_NOT_COMPRESSED = 0
# Their values have no fixed size.
_NO_SIZE = (types_pb2.DT_STRING, types_pb2.DT_VARIANT, types_pb2.DT_RESOURCE)


def check_index(prefix: str) -> None:
    """Raises ValueError if TensorFlow could not read the index of the checkpoint with this prefix."""
    with tf.io.gfile.GFile(f"{prefix}.index", "rb") as file:
        data = file.read()
    try:
        for name, value in _entries(data):
            if name:
                _check_entry(tensor_bundle_pb2.BundleEntryProto.FromString(value))
            else:
                tensor_bundle_pb2.BundleHeaderProto.FromString(value)
    except (DecodeError, IndexError, TypeError, struct.error) as error:
        raise ValueError(f"the index has an invalid entry ({error})") from None


def _check_entry(entry: tensor_bundle_pb2.BundleEntryProto) -> None:
    dtype, shape = tf.dtypes.as_dtype(entry.dtype), [side.size for side in entry.shape.dim]
    if entry.shape.unknown_rank or min(shape, default=0) < 0 or entry.size < 0 or entry.offset < 0 or entry.shard_id < 0:
        raise ValueError(f"the index has an invalid entry (a tensor of shape {shape}, {entry.size} bytes at {entry.offset})")
    # The values of a variable in several slices have entries of their own.
    if dtype not in _NO_SIZE and not entry.slices and math.prod(shape) * dtype.size != entry.size:
        raise ValueError(f"the index has an invalid entry (a tensor of shape {shape} in {entry.size} bytes)")


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and values of all entries; none if the table is compressed, which those of TensorFlow are not."""
    footer = table[-_FOOTER_BYTES:]
    (_, _, start, size), _ = _varints(footer, 4, 0)
    for _, handle in _block_entries(table, start, size):
        (start, size), _ = _varints(handle, 2, 0)
        yield from _block_entries(table, start, size)


def _block_entries(table: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a block; each name shares its beginning with the one before."""
    if table[start + size] != _NOT_COMPRESSED:
        return
    block, place, name = table[start : start + size], 0, b""
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (1 + restarts)
    while place < end:
        (shared, length, value_length), place = _varints(block, 3, place)
        name, value = name[:shared] + block[place : place + length], block[place + length : place + length + value_length]
        place += length + value_length
        yield name, value


def _varints(data: bytes, count: int, place: int) -> tuple[list[int], int]:
    """`count` numbers of variable length from `place` on, and the place after them."""
    numbers = []
    for _ in range(count):
        number = shift = 0
        while True:
            byte, place = data[place], place + 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        numbers.append(number)
    return numbers, place

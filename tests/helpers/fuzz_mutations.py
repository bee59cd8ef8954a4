"""Seeded mutations of bytes, PNGs, JPEGs, protos and JSON, which the fuzzers share."""

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

# Where sizes, counts and ids of formats change their meaning or overflow.
EDGES = (0, 1, 2, 3, 127, 255, 256, 32767, 65535, 65536, 10**6, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1)
TEXTS = (
    "",
    " ",
    "\0",
    "../..",
    "/",
    "a" * 5000,
    "\ud800",
    "é",
    "nan",
    "-1",
    "1e999",
    "$" + "{HOME}",
    "~nobody/x",
    "%s%n",
    "*",
    "[",
)


def edge(rng: np.random.Generator) -> int:
    """A number at the edge of some range, of either sign."""
    return int(rng.choice(np.array(EDGES, object))) * int(rng.choice([1, 1, 1, -1])) + int(rng.integers(-1, 2))


def mutate_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Flips, inserts, removes, repeats or cuts bytes in one to four places."""
    result = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        place, length = int(rng.integers(0, len(result) + 1)), int(rng.choice([1, 2, 4, 8, 64, 1000]))
        kind = rng.choice(["flip", "bits", "insert", "remove", "repeat", "cut", "zero", "ones"])
        if kind == "flip":
            result[place : place + length] = rng.bytes(len(result[place : place + length]))
        elif kind == "bits" and place < len(result):
            result[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == "insert":
            result[place:place] = rng.bytes(length)
        elif kind == "remove":
            del result[place : place + length]
        elif kind == "repeat":
            result[place:place] = result[place : place + length]
        elif kind == "cut":
            del result[place:]
        else:
            result[place : place + length] = (b"\0" if kind == "zero" else b"\xff") * len(result[place : place + length])
    return bytes(result)


def mutate_png(data: bytes, rng: np.random.Generator) -> bytes:
    """Changes chunks of a PNG, with valid checksums: header fields, order, contents, and chunks that expand to much."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append([data[place + 4 : place + 8], data[place + 8 : place + 8 + length]])
        place += 12 + length
    kind = rng.choice(["size", "depth", "drop", "twice", "swap", "contents", "pixels", "text"])
    which = int(rng.integers(0, len(chunks)))
    header = bytearray(chunks[0][1])
    if kind == "size":
        struct.pack_into(">I", header, int(rng.choice([0, 4])), edge(rng) & 0xFFFFFFFF)
    elif kind == "depth":
        header[int(rng.integers(8, 13))] = int(rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 255]))
    elif kind == "drop":
        del chunks[which]
    elif kind == "twice":
        chunks.insert(int(rng.integers(0, len(chunks) + 1)), chunks[which])
    elif kind == "swap":
        other = int(rng.integers(0, len(chunks)))
        chunks[which], chunks[other] = chunks[other], chunks[which]
    elif kind == "contents":
        chunks[which][1] = mutate_bytes(chunks[which][1], rng)
    elif kind == "pixels":
        pixels = zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT"))
        chunks = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
        chunks.insert(-1, [b"IDAT", zlib.compress(mutate_bytes(pixels, rng))])
    else:
        chunks.insert(1, text_bomb(rng))
    if kind in ("size", "depth"):
        chunks[0][1] = bytes(header)
    return data[:8] + b"".join(png_chunk(name, body) for name, body in chunks)


def png_chunk(name: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def text_bomb(rng: np.random.Generator, size: int = 1 << 26) -> list[bytes]:
    """A chunk of a PNG with compressed zeros that expand to `size` bytes."""
    packed = _zeros(size)
    kinds = {b"zTXt": b"k\0\0" + packed, b"iTXt": b"k\0\1\0\0\0" + packed, b"iCCP": b"k\0\0" + packed}
    name = list(kinds)[int(rng.integers(0, len(kinds)))]
    return [name, kinds[name]]


_packed: dict[int, bytes] = {}


def _zeros(size: int) -> bytes:
    if size not in _packed:
        compressor = zlib.compressobj(9)
        parts = [compressor.compress(bytes(1 << 20)) for _ in range(size >> 20)]
        _packed[size] = b"".join([*parts, compressor.flush()])
    return _packed[size]


def mutate_jpeg(data: bytes, rng: np.random.Generator) -> bytes:
    """Changes the sizes in the header of a JPEG, or a segment."""
    frame = data.find(b"\xff\xc0")
    if rng.integers(0, 2) and frame > 0:
        result = bytearray(data)
        struct.pack_into(">H", result, frame + int(rng.choice([5, 7])), edge(rng) & 0xFFFF)
        return bytes(result)
    # The segments before the pixels.
    start = int(rng.integers(2, max(data.find(b"\xff\xda"), 3)))
    return data[:start] + mutate_bytes(data[start : start + 20], rng) + data[start + 20 :]


def mutate_json(value: Any, rng: np.random.Generator) -> Any:
    """A deep copy of a JSON value with one node changed."""
    paths = list(_paths(value))
    # Otherwise it would nearly always be one of the many values of segments.
    depth = int(rng.integers(0, 1 + max(map(len, paths))))
    chosen = [path for path in paths if len(path) == depth] or paths
    return _changed(value, chosen[int(rng.integers(0, len(chosen)))], lambda node: _mutated(node, rng))


def _paths(value: Any, path: tuple = ()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))


def _changed(value: Any, path: tuple, change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _changed(copy[path[0]], path[1:], change)
    return copy


def _mutated(node: Any, rng: np.random.Generator) -> Any:
    others = [None, True, [], {}, [node], {"id": node}, 0.5, float("nan"), float("inf"), edge(rng), -7]
    others += [str(rng.choice(np.array(TEXTS, object))), str(edge(rng))]
    if isinstance(node, list) and node:
        others += [node * 2, node[:-1], node[::-1], [*node, node[int(rng.integers(0, len(node)))]]]
    if isinstance(node, dict) and node:
        key = list(node)[int(rng.integers(0, len(node)))]
        others += [{k: v for k, v in node.items() if k != key}, node | {key: edge(rng)}, node | {key: None}]
    return others[int(rng.integers(0, len(others)))]

"""Mutated TFRecords: bytes of the file, headers, protos, images, labels, ids and sizes."""

import io
import pathlib
import struct
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from fuzz_mutations import edge, mutate_bytes, mutate_jpeg, mutate_png
from google.protobuf import text_format
from panoptic_fixtures import INFO, encode, open_records, random_panoptic, write_records
from PIL import Image

from data.input import pipeline
from data.input.example_reader import ExampleReader
from data.inspection import scan
from data.records import label_coding, record_index, schema
from protos import dataset_pb2

_USABLE = "usable.txt"
_SIZE = (20, 30)
_LABEL = schema.LABEL
_LABEL_FORMAT = "image/segmentation/class/format"


def mutated_file(number: int) -> bytes:
    """The bytes of the TFRecord file of a case: one or two records."""
    rng = np.random.default_rng([17, number])
    example = _example(rng)
    # Most bytes of a file are caught by the checksums: it takes few of these cases.
    kind = rng.choice(list(_KINDS), p=_SHARES)
    if kind in ("file", "header"):
        data = _framed(example.SerializeToString()) + _framed(_example(rng).SerializeToString())
        return mutate_bytes(data, rng) if kind == "file" else _other_length(data, rng)
    if kind == "proto":
        return _framed(mutate_bytes(example.SerializeToString(), rng))
    _KINDS[kind](example, rng)
    return _framed(example.SerializeToString())


def prepare(folder: pathlib.Path) -> Callable[[int], str]:
    """Runs a case: the records of a file are read one by one, until one is bad."""

    def run(number: int) -> str:
        path = folder / f"{number:05d}.tfrecord"
        path.write_bytes(mutated_file(number))
        index = open_records(str(path))
        reader = ExampleReader(index, INFO)
        with (folder / _USABLE).open("a") as file:
            for record in range(len(index)):
                reader.read(record)
                file.write(f"{index.describe(record)}\n")
        return ""

    return run


def check_pipelines(folder: pathlib.Path) -> None:
    """Asserts that, when all cases have run, pipelines and inspection use the usable records of all files, and no others."""
    # Training gives up if too many records in a row are bad.
    write_records(folder / "good.tfrecord", 2000)
    options = f'file_pattern: "{folder}/*.tfrecord" crop_size: [33, 33] max_thing_id: 40 on_bad_example: SKIP'
    options = text_format.Parse(options, dataset_pb2.DatasetOptions())
    problems = pipeline.input_problems(options)
    index, _ = record_index.open_sources(options, made_by="fuzzer", problems=problems)
    dataset = pipeline.evaluation_dataset(options, INFO, batch_size=1, problems=problems)
    read = {index.describe(int(batch["number"][0])) for batch in problems.batches(dataset)}
    usable = set((folder / _USABLE).read_text().splitlines())
    # A bad record ends its case: those after it in its file are only read here.
    assert usable <= read, sorted(usable - read)[:5]
    training = pipeline.training_dataset(options, INFO, seed=0, batch_size=4, problems=problems)
    for _ in problems.batches(training.take(len(index) // 4)):
        pass
    section = scan.open_section("train", options, INFO)
    scan.scan(section)
    checked = len(section.counts.images)
    # Keys that are not UTF-8 are rejected by the parser of Python, and ignored by TensorFlow.
    assert len(read) - 3 <= checked <= len(read), (checked, len(read))


def _example(rng: np.random.Generator) -> tf.train.Example:
    image = rng.integers(0, 256, (*_SIZE, 3), dtype=np.uint8)
    panoptic = random_panoptic(rng, *_SIZE)
    image_format, label_format = rng.choice(["jpeg", "png"]), rng.choice(["png", "raw"])
    if label_format == "png" and rng.integers(0, 2):  # more ids than a palette has
        panoptic[:, :20] = 256 + np.arange(1, 401).reshape(20, 20) % 250
        panoptic[:, 20:] = 512 + np.arange(200).reshape(20, 10) % 250
    return schema.build_example(
        encode(image, image_format), image_format, "street", *_SIZE, panoptic, label_format=label_format
    )


def _framed(data: bytes) -> bytes:
    header = struct.pack("<Q", len(data))
    return header + _crc(header) + data + _crc(data)


def _crc(data: bytes) -> bytes:
    return struct.pack("<I", record_index._masked_crc(data))


def _other_length(data: bytes, rng: np.random.Generator) -> bytes:
    lengths = (edge(rng) % 2**64, len(data) - 16, len(data) - 15, 2**64 - 16, 2**64 - 1)
    length = struct.pack("<Q", lengths[int(rng.integers(0, len(lengths)))])
    return length + _crc(length) + data[12:]


def _bytes(example: tf.train.Example, key: str):
    return example.features.feature[key].bytes_list.value


def _image(example: tf.train.Example, rng: np.random.Generator) -> None:
    data = _bytes(example, "image/encoded")[0]
    kind = rng.choice(["bytes", "header", "format", "mode"])
    if kind == "bytes":
        data = mutate_bytes(data, rng)
    elif kind == "header":
        data = mutate_png(data, rng) if data.startswith(b"\x89PNG") else mutate_jpeg(data, rng)
    else:
        modes = ("RGB", "L", "CMYK", "1", "P", "RGBA", "LA", "I;16", "I")
        data = _in_format(data, rng, "RGB" if kind == "format" else str(rng.choice(modes)))
    _bytes(example, "image/encoded")[0] = data


def _in_format(data: bytes, rng: np.random.Generator, mode: str) -> bytes:
    """The image in another file format or mode, half of the time damaged."""
    formats = ("gif", "bmp", "webp", "tiff", "png", "jpeg")
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(data))
    picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16)) if mode == "I;16" else picture.convert(mode)
    try:
        picture.save(buffer, format=str(rng.choice(formats)))
    except (OSError, ValueError):  # not every format has every mode
        picture.convert("RGB").save(buffer, format="bmp")
    return mutate_bytes(buffer.getvalue(), rng) if rng.integers(0, 2) else buffer.getvalue()


def _label(example: tf.train.Example, rng: np.random.Generator) -> None:
    data = _bytes(example, _LABEL)[0]
    data = mutate_png(data, rng) if data.startswith(b"\x89PNG") and rng.integers(0, 2) else mutate_bytes(data, rng)
    _bytes(example, _LABEL)[0] = data


def _ids(example: tf.train.Example, rng: np.random.Generator) -> None:
    low, high = sorted(
        int(value) for value in rng.choice([-(2**31), -257, -1, 0, 256, 1300, 10**6, 2**24, 2**31 - 1], 2, False)
    )
    ids = rng.integers(low, high, _SIZE).astype(np.int32)
    label_format = "png" if ids.min() >= 0 and ids.max() < 1 << 24 and rng.integers(0, 2) else "raw"
    _bytes(example, _LABEL)[0] = label_coding.encode_label(ids, label_format)
    _bytes(example, _LABEL_FORMAT)[0] = label_format.encode()


def _sizes(example: tf.train.Example, rng: np.random.Generator) -> None:
    for key in rng.choice(["image/height", "image/width"], rng.integers(1, 3), replace=False):
        example.features.feature[key].int64_list.value[0] = min(max(edge(rng), -(2**63)), 2**63 - 1)


def _features(example: tf.train.Example, rng: np.random.Generator) -> None:
    """Drops, repeats, empties or retypes a feature."""
    feature = example.features.feature[str(rng.choice(list(example.features.feature)))]
    values = getattr(feature, feature.WhichOneof("kind")).value
    kind = rng.choice(["none", "twice", "empty", "type", "text"])
    if kind == "none":
        feature.Clear()
    elif kind == "twice":
        values.append(values[0])
    elif kind == "empty":
        del values[:]
    elif kind == "text":
        feature.bytes_list.value[:] = [rng.bytes(rng.integers(0, 40))]
    else:
        feature.float_list.value[:] = [float(rng.choice([0, np.nan, np.inf, 1e30]))]


_KINDS = {
    **{"file": None, "header": None, "proto": None, "image": _image},
    **{"label": _label, "ids": _ids, "sizes": _sizes, "features": _features},
}
_SHARES = (0.1, 0.05, 0.15, 0.25, 0.2, 0.1, 0.05, 0.1)

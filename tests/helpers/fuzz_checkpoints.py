"""Mutated checkpoints: index and data of TensorFlow, headers and values of safetensors, HDF5 and Keras archives."""

import json
import pathlib
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from unittest import mock

import h5py
import keras
import numpy as np
import tf_keras
from encoder_alone import EncoderAlone
from example_configs import small_config
from foreign_convnext import NO_TOP, TOP, keras_convnext_atto, timm_weights
from fuzz_mutations import edge, mutate_bytes, mutate_json
from safetensors.numpy import save_file

from data.records import record_index
from kmax_tf import CheckpointError, load_checkpoint
from kmax_tf.checkpoints.loading import holds_encoder_only, load_encoder
from kmax_tf.pixel_encoders import convnext
from trainer.training.checkpoints import RunCheckpoints
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment

_KINDS = ("index", "index entries", "data", "state", "safetensors", "safetensors header", "h5", "h5 structure", "keras")
_SHARES = (0.1, 0.2, 0.07, 0.03, 0.1, 0.15, 0.15, 0.12, 0.08)
_HDF5_MARKS = (b"\x89HDF", b"TREE", b"SNOD", b"HEAP", b"OHDR", b"GCOL", b"FRHP", b"FSHD", b"BTHD", b"OCHK")


class Fuzzer:
    """The unchanged files, and the models that read the changed ones."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        with mock.patch.dict(convnext.VARIANTS, atto=convnext.Variant((2, 1, 1, 2), (8, 16, 32, 64))):
            self.experiment = build_experiment(small_config(), make_strategy(), 0)
        self.encoder = EncoderAlone("kmax_convnext_atto")
        self.run_dir = folder / "run"
        if self.run_dir.exists():
            return
        save_file(timm_weights(), folder / "x.safetensors")
        keras_convnext_atto(tf_keras, **NO_TOP).save_weights(folder / "x.h5")
        keras_convnext_atto(keras, **TOP).save(folder / "x.keras")
        RunCheckpoints(self.experiment, self.run_dir, lambda: None).save(checkpoint_number=7, check_interval=False)

    def __call__(self, number: int) -> str:
        rng = np.random.default_rng([41, number])
        kind = rng.choice(_KINDS, p=_SHARES)
        root = self.folder / f"{number:03d}"
        root.mkdir()
        try:
            if kind in _KINDS[:4]:
                self._tensorflow(root, str(kind), rng)
            else:
                suffix = str(kind).split()[0]
                path = root / f"x.{suffix}"
                _CHANGES[str(kind)](self.folder / path.name, path, rng)
                self._unchanged(self.encoder, lambda: load_encoder(self.encoder, str(path)))
            return str(kind)
        finally:
            shutil.rmtree(root)

    def _tensorflow(self, root: pathlib.Path, kind: str, rng: np.random.Generator) -> None:
        shutil.copytree(self.run_dir, root, dirs_exist_ok=True)
        index, data = root / "ckpt-7.index", root / "ckpt-7.data-00000-of-00001"
        if kind == "index entries":
            index.write_bytes(mutate_table(index.read_bytes(), rng))
        else:
            path = {"index": index, "data": data, "state": root / "checkpoint"}[kind]
            path.write_bytes(mutate_bytes(path.read_bytes(), rng))
        model, refusals = self.experiment.model, []
        before = [variable.numpy() for variable in model.variables]
        for work in (
            lambda: self._unchanged(model, lambda: load_checkpoint(model, str(root))),
            lambda: load_encoder(model, str(root / "ckpt-7")),
            lambda: holds_encoder_only(str(root)),
            lambda: RunCheckpoints(self.experiment, root, lambda: None).restore_or_initialize(),
        ):
            try:
                work()
            except CheckpointError as error:
                refusals.append(str(error))
        if not refusals and kind != "index entries":
            assert all(np.array_equal(a, b) for a, b in zip(before, model.variables)), "a damaged value was loaded"
        if refusals:
            raise CheckpointError(" | ".join(refusals))

    def _unchanged(self, model, work: Callable[[], object]) -> None:
        """What cannot be loaded is not loaded in part."""
        before = [variable.numpy() for variable in model.variables]
        try:
            work()
        except CheckpointError:
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, model.variables)), "loaded in part"
            raise


prepare = Fuzzer


def mutate_table(data: bytes, rng: np.random.Generator) -> bytes:
    """Changes bytes inside of a block of a table of TensorFlow (the format of LevelDB), with a valid checksum."""
    blocks = _blocks(data)
    # The last one lists the others.
    start, size = blocks[int(rng.integers(0, len(blocks)))]
    result = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        place = start + int(rng.integers(0, size))
        result[place] = int(rng.choice([0, 1, 8, 127, 128, 255, result[place] ^ 1, int(rng.integers(0, 256))]))
    checksum = record_index._masked_crc(bytes(result[start : start + size + 1]))
    result[start + size + 1 : start + size + 5] = struct.pack("<I", checksum)
    return bytes(result)


def _blocks(data: bytes) -> list[tuple[int, int]]:
    """Start and size of the data blocks and of the index block."""
    _, _, start, size = _varints(data[-48:], 4)[0]
    block, blocks, place = data[start : start + size], [], 0
    (restarts,) = struct.unpack("<I", block[-4:])
    while place < len(block) - 4 - 4 * restarts:
        (_, key, value), place = _varints(block, 3, place)
        place += key
        blocks.append(tuple(_varints(block, 2, place)[0]))
        place += value
    return [*blocks, (start, size)]


def _varints(data: bytes, count: int, place: int = 0) -> tuple[list[int], int]:
    values = []
    for _ in range(count):
        value, shift = 0, 0
        while True:
            byte = data[place]
            value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
            if byte < 128:
                break
        values.append(value)
    return values, place


def _bytes(source: pathlib.Path, target: pathlib.Path, rng: np.random.Generator) -> None:
    target.write_bytes(mutate_bytes(source.read_bytes(), rng))


def _safetensors_header(source: pathlib.Path, target: pathlib.Path, rng: np.random.Generator) -> None:
    data = source.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, values = data[8 : 8 + length], data[8 + length :]
    if rng.integers(0, 4):
        header = json.dumps(mutate_json(json.loads(header), rng)).encode()
    else:
        header = mutate_bytes(header, rng)
    length = abs(edge(rng)) % 2**64 if rng.integers(0, 5) == 0 else len(header)
    target.write_bytes(struct.pack("<Q", length) + header + values)


def _hdf5_metadata(source: pathlib.Path, target: pathlib.Path, rng: np.random.Generator) -> None:
    data = source.read_bytes()
    mark = _HDF5_MARKS[int(rng.integers(0, len(_HDF5_MARKS)))]
    places = [found.start() for found in re.finditer(re.escape(mark), data)] or [0]
    start = places[int(rng.integers(0, len(places)))]
    target.write_bytes(data[:start] + mutate_bytes(data[start : start + 300], rng) + data[start + 300 :])


def _hdf5_structure(source: pathlib.Path, target: pathlib.Path, rng: np.random.Generator) -> None:
    """A dataset or group is replaced by one of another kind or size."""
    shutil.copy(source, target)
    with h5py.File(target, "r+") as file:
        names = []
        file.visit(names.append)
        name = names[int(rng.integers(0, len(names)))]
        del file[name]
        kind = rng.choice(
            ["huge", "bomb", "text", "compound", "soft", "external", "outside", "empty", "object", "shape", "none"]
        )
        if kind == "huge":
            file.create_dataset(name, (1 << 20, 1 << 20), "f4", chunks=(1 << 10, 1 << 10))
        elif kind == "bomb":
            file.create_dataset(name, (1 << 30,), "f4", chunks=(1 << 20,), compression="gzip", fillvalue=1.0)
        elif kind == "text":
            file[name] = ["a", "é" * 100]
        elif kind == "compound":
            file[name] = np.zeros(3, [("a", "i4"), ("b", "f8", (2,))])
        elif kind == "soft":
            file[name] = h5py.SoftLink("/")
        elif kind == "external":
            file[name] = h5py.ExternalLink("/etc/hostname", "/")
        elif kind == "outside":
            file.create_dataset(name, (4,), "u1", external=[("/etc/passwd", 0, 4)])
        elif kind == "empty":
            file[name] = h5py.Empty("f4")
        elif kind == "object":
            file.create_dataset(name, (2,), h5py.vlen_dtype(np.float32))
        elif kind == "shape":
            file.create_dataset(name, tuple(int(side) for side in rng.integers(0, 4, rng.integers(0, 6))), "f4")


def _keras_archive(source: pathlib.Path, target: pathlib.Path, rng: np.random.Generator) -> None:
    if rng.integers(0, 2):
        _bytes(source, target, rng)
        return
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name == "model.weights.h5":
                kind = rng.choice(["none", "bomb", "bytes"])
                if kind == "bomb":
                    with new.open(name, "w") as file:
                        for _ in range(400):
                            file.write(bytes(1 << 20))
                elif kind == "bytes":
                    new.writestr(name, mutate_bytes(old.read(name), rng))
            else:
                new.writestr(name, old.read(name))


_CHANGES = {
    "safetensors": _bytes,
    "safetensors header": _safetensors_header,
    "h5": _hdf5_metadata,
    "h5 structure": _hdf5_structure,
    "keras": _keras_archive,
}

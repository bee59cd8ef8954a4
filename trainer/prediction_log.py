"""Remembers which images of a folder have been predicted, so that an interrupted run goes on where it stopped."""

import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from data import journal

_BLOCK_BYTES = 1 << 24


class PredictionLog:
    """The predictions in a folder by image file, kept as long as neither the model nor the file changes."""

    def __init__(self, path: pathlib.Path, model: str):
        """`path` is the file of the log; entries that another `model` (fingerprint; empty: unknown) made are dropped."""
        entries = journal.read(path)
        same = bool(model and entries) and entries[0].get("model") == model
        self._entries = {entry["image"]: entry for entry in entries[1:]} if same else {}
        self.of_other_model = 0 if same else len(entries[1:])
        self._journal = journal.Journal(path, [{"model": model}, *self._entries.values()])

    def find(self, image: pathlib.Path) -> Mapping[str, dict] | None:
        """What was given to `add` for an image, if its file is still the same."""
        entry = self._entries.get(str(image))
        return entry["records"] if entry and entry["state"] == _state(image) else None

    def add(self, image: pathlib.Path, records: Mapping[str, dict]) -> None:
        """Notes that all files of a prediction are written; `records` is anything that JSON can hold."""
        entry = {"image": str(image), "state": _state(image), "records": records}
        self._journal.add(entry)
        self._entries[str(image)] = entry


def _state(image: pathlib.Path) -> list[Any]:
    try:
        status = image.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def fingerprint(files: Iterable[str | os.PathLike[str]], text: str = "") -> str:
    """A hash of the contents of files, in the order of their names, and of a text: models that share it predict the same."""
    digest = hashlib.sha256(text.encode())
    for path in sorted(map(os.fspath, files)):
        digest.update(os.path.basename(path).encode())
        with tf.io.gfile.GFile(path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()

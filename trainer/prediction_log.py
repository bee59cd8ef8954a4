"""Remembers which images of a folder have been predicted, so that an interrupted run goes on where it stopped."""

import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from kmax_tf.files import journal

_BLOCK_BYTES = 1 << 24


class PredictionLog:
    """The predictions in a folder by the name of their PNG, kept as long as neither the model nor a file changes.

    Images of runs in different folders share the results of their name, of which the last one counts.
    """

    def __init__(self, path: pathlib.Path, model: str):
        """`path` is the file of the log; entries that another `model` (fingerprint; empty: unknown) made are dropped."""
        before, entries = journal.read(path, lambda line: str(line["model"]), _checked)
        same = bool(model) and before == model
        self._entries = {_png_name(entry["records"]): entry for entry in entries} if same else {}
        self.of_other_model = 0 if same else len(entries)
        self._journal = journal.Journal(path, [{"model": model}, *self._entries.values()])

    def find(self, png_name: str, image: pathlib.Path, results: Iterable[pathlib.Path]) -> Mapping[str, dict] | None:
        """What was given to `add` for an image and its PNG, if its file and all `results` are still as they were then."""
        entry = self._entries.get(png_name)
        if entry is None or (entry["image"], entry["state"]) != (str(image), _state(image)):
            return None
        same = all(str(result) in entry["results"] and entry["results"][str(result)] == _state(result) for result in results)
        return entry["records"] if same else None

    def add(self, image: pathlib.Path, results: Iterable[pathlib.Path], records: Mapping[str, dict]) -> None:
        """Notes that all files `results` of a prediction are written; `records` is what PanopticResultsWriter.add returns."""
        states = {str(result): _state(result) for result in results}
        entry = {"image": str(image), "state": _state(image), "results": states, "records": records}
        self._journal.add(entry)
        self._entries[_png_name(records)] = entry


def _png_name(records: Mapping[str, dict]) -> str:
    return records["annotation"]["file_name"]


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """Raises KeyError or TypeError if it is not what `add` makes."""
    for key, kind in (("image", str), ("state", list), ("results", dict), ("records", dict)):
        if not isinstance(entry[key], kind):
            raise TypeError(f"{key} is {entry[key]!r}")
    for record in ("image", "annotation"):
        if not isinstance(entry["records"][record], dict):
            raise TypeError(f"{record} is no object")
        if not isinstance(entry["records"][record]["file_name"], str):
            raise TypeError(f"file_name of {record} is no text")
    return entry


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

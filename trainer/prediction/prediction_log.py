"""Records which images of a folder have been predicted, so that an interrupted run can continue where it stopped."""

import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from kmax_tf.files import journal

_BLOCK_BYTES = 1 << 24


class PredictionLog:
    """The predictions in a folder by the name of their PNG, valid as long as neither the model nor a file changes.

    Images with the same name in different folders share one entry, which is that of the last prediction.
    """

    def __init__(self, path: pathlib.Path, model: str):
        """`path` is the file of the log; entries of another `model` (fingerprint; empty: unknown) are dropped."""
        before, entries = journal.read(path, lambda line: str(line["model"]), _checked)
        same = bool(model) and before == model
        self._entries = {_png_name(entry["records"]): entry for entry in entries} if same else {}
        self.of_other_model = 0 if same else len(entries)
        self._journal = journal.Journal(path, [{"model": model}, *self._entries.values()])

    def find(self, png_name: str, image: pathlib.Path, results: Iterable[pathlib.Path]) -> Mapping[str, dict] | None:
        """The `records` given to `add` for an image and its PNG, if its file and all `results` have not changed since."""
        entry = self._entries.get(png_name)
        if entry is None or (entry["image"], entry["state"]) != (str(image), _state(image)):
            return None
        unchanged = all(entry["results"].get(str(result)) == _state(result) for result in results)
        return entry["records"] if unchanged else None

    def add(self, image: pathlib.Path, results: Iterable[pathlib.Path], records: Mapping[str, dict]) -> None:
        """Records that all files `results` of a prediction are written; `records` are those of PanopticResultsWriter.add."""
        states = {str(result): _state(result) for result in results}
        entry = {"image": str(image), "state": _state(image), "results": states, "records": records}
        self._journal.add(entry)
        self._entries[_png_name(records)] = entry


def _png_name(records: Mapping[str, dict]) -> str:
    return records["annotation"]["file_name"]


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """Raises KeyError or TypeError if the entry is not one of `add`."""
    if [type(entry[key]) for key in ("image", "state", "results", "records")] != [str, list, dict, dict]:
        raise TypeError(f"{entry} is not an entry of this log")
    if not all(isinstance(entry["records"][record]["file_name"], str) for record in ("image", "annotation")):
        raise TypeError(f"{entry['records']} does not name its files")
    return entry


def _state(path: pathlib.Path) -> list[int]:
    """Size and modification time of a file; empty if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def fingerprint(files: Iterable[str | os.PathLike[str]], text: str = "") -> str:
    """A hash of the contents of files, ordered by name, and of a text; models with the same one give the same predictions."""
    digest = hashlib.sha256(text.encode())
    for path in sorted(map(os.fspath, files)):
        digest.update(os.path.basename(path).encode())
        with tf.io.gfile.GFile(path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()

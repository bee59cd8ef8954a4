"""A record of finished work that survives an interruption: a file of JSON lines."""

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from kmax_tf.files.atomic import write_text

Entry = Mapping[str, Any]
Header, Line = TypeVar("Header"), TypeVar("Line")


class Journal:
    """Appends entries, each of which a later `read` returns completely or not at all."""

    def __init__(self, path: pathlib.Path, entries: Sequence[Entry]) -> None:
        """Writes or replaces the file atomically with `entries`, the first of which is the header."""
        self._path = path
        write_text(path, "".join(json.dumps(entry) + "\n" for entry in entries))

    def add(self, entry: Entry) -> None:
        """Appends an entry."""
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def read(path: pathlib.Path, header: Callable[[Any], Header], entry: Callable[[Any], Line]) -> tuple[Header | None, list[Line]]:
    """The contents of a journal up to the first damaged line; None and nothing if there is no file or no header.

    `header` converts the first line and `entry` the others; their KeyError, TypeError or ValueError means that it is damaged.
    """
    if not path.is_file():
        return None, []
    first, entries = None, []
    for number, line in enumerate(path.read_text(errors="replace").splitlines()):
        try:
            if number:
                entries.append(entry(json.loads(line)))
            else:
                first = header(json.loads(line))
        except (KeyError, TypeError, ValueError, RecursionError):
            break
    return first, entries

"""A record of finished work that survives an interruption: a file of JSON lines."""

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

Header = TypeVar("Header")
Entry = TypeVar("Entry")


class Journal:
    """Appends entries, each of which a later `read` finds whole or not at all."""

    def __init__(self, path: pathlib.Path, entries: Sequence[Mapping[str, Any]]) -> None:
        """Writes or replaces the file in one step; it then holds `entries`, the first of which is the header."""
        self._path = path
        partial = path.with_name(path.name + ".partial")
        partial.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        os.replace(partial, path)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Appends an entry."""
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def read(
    path: pathlib.Path, header: Callable[[dict[str, Any]], Header], entry: Callable[[dict[str, Any]], Entry]
) -> tuple[Header | None, list[Entry]]:
    """What a journal holds up to the first damaged line; None and nothing without a file or a whole header.

    Args:
      path: of the journal.
      header: makes of the first line what is wanted of it.
      entry: the same for the other lines. Both raise KeyError, TypeError or ValueError for what `Journal` was not given.
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

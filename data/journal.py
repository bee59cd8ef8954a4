"""A record of finished work that survives an interruption: a file of JSON lines."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any


class Journal:
    """Appends entries, each of which a later `read` finds whole or not at all."""

    def __init__(self, path: pathlib.Path, entries: Sequence[Mapping[str, Any]]) -> None:
        """Writes or replaces the file in one step; it then holds `entries`."""
        self._path = path
        partial = path.with_name(path.name + ".partial")
        partial.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        os.replace(partial, path)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Appends an entry."""
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The entries of a journal up to the first damaged one; none if there is no file."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not isinstance(entry, dict):
            break
        entries.append(entry)
    return entries

"""Writes files atomically: a reader never sees a partial file."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the path of a file to write, which replaces `path` at the end; an interruption or error leaves the old file."""
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        # On a full disk, half a file would take the space that the next one needs.
        partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes or replaces a file atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")

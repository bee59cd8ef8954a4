"""Writes text files atomically: a reader never sees a partial file."""

import os
import pathlib


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes or replaces a file atomically; an interruption or error leaves the old file unchanged."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError:
        # On a full disk, half a file would take the space that the next one needs.
        partial.unlink(missing_ok=True)
        raise

"""Text files that a reader finds whole or not at all."""

import os
import pathlib


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes or replaces a file in one step; an interruption leaves the file as it was."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)

"""File name patterns. Existing files and folders are taken literally, whatever characters their names contain."""

import glob
import os
import pathlib

import tensorflow as tf

# Files that file managers create in folders of pictures.
_SYSTEM_FILES = ("Thumbs.db", "desktop.ini")


def matching_files(pattern: str) -> list[str]:
    """The files that match a pattern, sorted.

    `*`, `?` and `[...]` have their usual meaning and `**` matches nested folders, except in the names of existing files and
    folders: `crop=[129,129]/train-*` lists the folder `crop=[129,129]`. Hidden files (is_hidden) match no pattern.

    Args:
      pattern: a local path, or one with a scheme (`gs://...`) that TensorFlow supports.

    Raises:
      OSError, tf.errors.OpError: the file system cannot be read.
    """
    if "://" in pattern:
        return sorted(path for path in tf.io.gfile.glob(pattern) if not is_hidden(path.rsplit("/", 1)[-1]))
    if os.path.isfile(pattern):
        return [pattern]
    folder, rest = _literal_folder(pattern)
    found = glob.glob(os.path.join(glob.escape(folder), rest), recursive=True)
    return sorted(path for path in found if os.path.isfile(path) and not is_hidden(os.path.basename(path)))


def is_hidden(name: str) -> bool:
    """Whether this is the name of a system file (`._a.jpg`, `.DS_Store`, `Thumbs.db`) rather than of user data."""
    return name.startswith(".") or name in _SYSTEM_FILES


def _literal_folder(pattern: str) -> tuple[str, str]:
    """Splits a pattern into its longest prefix that is an existing folder, and the rest."""
    parts = pathlib.PurePath(pattern).parts
    for end in range(len(parts) - 1, 0, -1):
        folder = os.path.join(*parts[:end])
        if os.path.isdir(folder):
            return folder, os.path.join(*parts[end:])
    return "", pattern

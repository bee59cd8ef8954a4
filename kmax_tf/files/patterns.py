"""File name patterns. Existing files and folders are taken literally, whatever characters their names contain."""

import glob
import os
import pathlib

import tensorflow as tf

_SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})


def is_hidden(name: str) -> bool:
    """Whether a file of this name is hidden (`._a.jpg`, `.DS_Store`) or one of the system's (`Thumbs.db`), rather than data."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES


def matching_files(pattern: str) -> list[str]:
    """The files (and folders) that match a pattern, sorted.

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
    folder, parts = pathlib.PurePath(""), pathlib.PurePath(pattern).parts
    # The longest prefix that is an existing folder is literal.
    while len(parts) > 1 and os.path.isdir(folder / parts[0]):
        folder, parts = folder / parts[0], parts[1:]
    found = glob.glob(os.path.join(glob.escape(str(folder) if folder.parts else ""), *parts), recursive=True)
    return sorted(path for path in found if not is_hidden(os.path.basename(path)))

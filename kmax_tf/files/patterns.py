"""File name patterns. Existing files and folders are taken literally, whatever characters their names contain."""

import glob
import os
import pathlib

import tensorflow as tf

from kmax_tf.files.hidden import is_hidden


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
    folder, rest = _literal_folder(pattern)
    found = glob.glob(os.path.join(glob.escape(folder), rest), recursive=True)
    return sorted(path for path in found if not is_hidden(os.path.basename(path)))


def _literal_folder(pattern: str) -> tuple[str, str]:
    """Splits a pattern into its longest prefix that is an existing folder, and the rest."""
    parts = pathlib.PurePath(pattern).parts
    for end in range(len(parts) - 1, 0, -1):
        folder = os.path.join(*parts[:end])
        if os.path.isdir(folder):
            return folder, os.path.join(*parts[end:])
    return "", pattern

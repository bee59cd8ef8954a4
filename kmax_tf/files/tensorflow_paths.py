"""Paths for TensorFlow functions that treat folder names as patterns.

`tf.train.CheckpointManager`, `tf.train.latest_checkpoint`, the restore op and the SavedModel loader search for files with
patterns built from their paths, so they find nothing in a folder called `crop=[129,129]`.
"""

import atexit
import functools
import os
import shutil
import tempfile

_SPECIAL = frozenset("*?[]{}\\")


def literal_path(path: str) -> str:
    """A path to the same file, prefix or folder without characters that TensorFlow treats as a pattern.

    This is `path` itself if it has no such characters, and otherwise goes through a symbolic link to its existing folder, which
    is removed at exit. Paths of remote file systems are returned unchanged.
    """
    if "://" in path or not _SPECIAL.intersection(path):
        return path
    path = os.path.abspath(path)
    if os.path.isdir(path):
        return _link(path)
    folder, name = os.path.split(path)
    return os.path.join(_link(folder), name)


@functools.cache
def _link(folder: str) -> str:
    parent = tempfile.mkdtemp(prefix="kmax_tf_")
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    link = os.path.join(parent, "folder")
    os.symlink(folder, link)
    return link

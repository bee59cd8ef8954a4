"""Paths for functions of TensorFlow that take the names of folders for patterns.

`tf.train.CheckpointManager`, `tf.train.latest_checkpoint`, the restore op and the loader of SavedModels look for files with
patterns made of their paths, so that they find nothing in a folder called `crop=[129,129]`.
"""

import atexit
import functools
import os
import shutil
import tempfile

_SPECIAL = frozenset("*?[]{}\\")


def literal_path(path: str) -> str:
    """A path to the same file, prefix or folder without letters that TensorFlow takes for a pattern.

    That is `path` itself where it has none, and otherwise one through a symbolic link to its folder, which is removed at exit.
    The folder must exist. Paths of remote file systems stay as they are.
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

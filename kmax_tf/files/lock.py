"""Locks: an output folder has one owner at a time."""

import contextlib
import datetime
import errno
import fcntl
import os
import pathlib
import platform
from collections.abc import Iterator

from absl import logging

from protos.errors import UserError

LOCK_NAME = ".lock"
_NOT_SUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class FolderInUseError(UserError):
    """Another process writes to the folder; the message names it."""


@contextlib.contextmanager
def own_folder(folder: pathlib.Path) -> Iterator[None]:
    """Makes this process the only owner of `folder`, which is created if it does not exist, for the time of a `with` block.

    The operating system holds the lock on `<folder>/.lock`: it ends with the process, however that ends. Other hosts see it as
    far as the file system shares locks (NFS does); where a file system has none, a warning says so and nothing is locked. A
    folder that was created and is still empty at the end is removed.

    Raises:
      FolderInUseError: another process, or another block of this one, owns the folder.
      OSError: the folder cannot be created or written.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    descriptor = _lock(path, folder)
    try:
        os.ftruncate(descriptor, 0)
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()} since {now}\n".encode(), 0)
        yield
    finally:
        # Removed before it is unlocked: a process that waits for this file notices, see _is_current.
        path.unlink(missing_ok=True)
        os.close(descriptor)
        if is_new:
            with contextlib.suppress(OSError):  # it holds files, or was renamed
                folder.rmdir()


def _lock(path: pathlib.Path, folder: pathlib.Path) -> int:
    """An open descriptor of the file that holds its lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 1000, 0).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise FolderInUseError(f"{folder} is in use by {owner}: wait for it, end it, or choose another folder") from None
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                os.close(descriptor)
                raise
            logging.warning("%s: this file system has no locks; do not start two commands that write to this folder", folder)
        if _is_current(descriptor, path):
            return descriptor
        os.close(descriptor)


def _is_current(descriptor: int, path: pathlib.Path) -> bool:
    """Whether the file that was opened is still the one of this name, and not removed by its last owner."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

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
    """Another process uses the folder; the message names that process."""


@contextlib.contextmanager
def own_folder(folder: pathlib.Path, *, shown: pathlib.Path | None = None) -> Iterator[None]:
    """Locks `folder` for this process for the duration of a `with` block; creates the folder if it does not exist.

    `shown`: the folder to name in messages instead, if `folder` is a temporary one.

    The lock on `<folder>/.lock` ends with the process, and works across hosts if the file system shares locks (NFS does);
    without locks, a warning is logged. A folder that was created here and is still empty at the end is removed.

    Raises:
      FolderInUseError: another process, or another block of this one, owns the folder.
      OSError: the folder cannot be created or written.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    descriptor = _lock(path, shown or folder)
    try:
        os.ftruncate(descriptor, 0)
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()} since {now}\n".encode(), 0)
        yield
    finally:
        # Remove the file before unlocking it: a process that waits for it notices.
        path.unlink(missing_ok=True)
        os.close(descriptor)
        if is_new:
            with contextlib.suppress(OSError):  # it contains files, or was renamed
                folder.rmdir()


def _lock(path: pathlib.Path, folder: pathlib.Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 1000, 0).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise FolderInUseError(f"{folder} is in use by {owner}: wait for it, stop it, or choose another folder") from None
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                os.close(descriptor)
                raise
            logging.warning("%s: this file system has no locks; do not start two commands that write to this folder", folder)
        with contextlib.suppress(FileNotFoundError):  # the last owner has removed the file since it was opened
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)

"""Errors in weight files."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator

import safetensors
import tensorflow as tf

from protos.errors import UserError, first_line

# What TensorFlow, h5py and zipfile raise for a damaged file depends on where the damage is.
_DAMAGE = (tf.errors.OpError, OSError, KeyError, IndexError, RuntimeError, TypeError, ValueError) + (
    safetensors.SafetensorError,
    zipfile.BadZipFile,
    zlib.error,
)


class CheckpointError(UserError):
    """A checkpoint that cannot be loaded; the message names the file and the variables.

    `damaged` is true if it cannot be read, false if it does not exist or does not fit the model; `encoder_fits` is true if only
    the rest of the model does not fit.
    """

    def __init__(self, message: str, *, damaged: bool = False, encoder_fits: bool = False):
        super().__init__(message)
        self.damaged = damaged
        self.encoder_fits = encoder_fits


@contextlib.contextmanager
def readable(path: str, kind: str) -> Iterator[None]:
    """Converts the errors that readers raise for a damaged file into a CheckpointError; `kind` is the expected kind of file."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, CheckpointError):
            raise
        message = f"{path}: damaged, or not a {kind}: {first_line(error)}"
        raise CheckpointError(message, damaged=True) from None

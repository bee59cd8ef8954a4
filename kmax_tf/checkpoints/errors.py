"""What is wrong with a file of weights."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator

import safetensors
import tensorflow as tf

from protos.errors import UserError

# TensorFlow, h5py and zipfile raise whatever fits the place where a file is broken.
_DAMAGE = (tf.errors.OpError, OSError, KeyError, IndexError, RuntimeError, ValueError) + (
    safetensors.SafetensorError,
    zipfile.BadZipFile,
    zlib.error,
)


class CheckpointError(UserError):
    """A checkpoint that cannot be loaded; the message names the file and the variables.

    `damaged` is true if it cannot be read, false if it does not exist or does not fit the model; `encoder_fits` is true if the
    rest of the model alone does not fit.
    """

    def __init__(self, message: str, *, damaged: bool = False, encoder_fits: bool = False):
        super().__init__(message)
        self.damaged = damaged
        self.encoder_fits = encoder_fits


@contextlib.contextmanager
def readable(path: str, kind: str) -> Iterator[None]:
    """Turns what readers raise for a damaged file into a CheckpointError; `kind` is the name of what the file should be."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, CheckpointError):
            raise
        message = f"{path}: damaged or no {kind}: {first_line(error)}"
        raise CheckpointError(message, damaged=True) from None


def first_line(error: Exception) -> str:
    """The beginning of a message of TensorFlow, which can be pages long."""
    return str(error).strip().split("\n", 1)[0][:300]

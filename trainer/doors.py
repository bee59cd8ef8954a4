"""What all commands share: errors that a user can act on become one message and exit code 1."""

import errno
import os
import sys
from collections.abc import Callable

import tensorflow as tf
from absl import flags

from data.pipeline import bad_example_message


class DoorError(ValueError):
    """A command that cannot be carried out as it was given; the message says what to change."""


def run_door(main: Callable[[list[str]], None], argv: list[str]) -> None:
    """Runs `main` and ends it with a message instead of a stack trace where a user can act on what is wrong.

    That is a ValueError of this project, a damaged record, and files that cannot be read or written: no space, no permission.
    """
    if argv[1:]:
        _exit(f"unexpected arguments {' '.join(argv[1:])}: all inputs are flags (--name=value); put quotes around patterns")
    try:
        main(argv)
    except tf.errors.OpError as error:
        message = bad_example_message(error) or _file_message(error)
        if message is None:
            raise
        _exit(message)
    except OSError as error:
        if error.errno is None:  # not from the operating system
            raise
        _exit(f"{error.filename or _output_dir()}: {error.strerror}")
    except ValueError as error:
        if type(error).__module__.split(".")[0] not in ("protos", "data", "kmax_tf", "trainer"):
            raise
        _exit(str(error))


def _file_message(error: tf.errors.OpError) -> str | None:
    """`path: reason` where TensorFlow, which writes `path; reason`, could not read or write a file; None for other errors."""
    path, separator, reason = (error.message or "").splitlines()[0].rpartition("; ") if error.message else ("", "", "")
    return f"{path}: {reason}" if separator and reason in map(os.strerror, errno.errorcode) else None


def _output_dir() -> str:
    """What the command writes to, for errors of the operating system that do not name their file."""
    for name in ("output_dir", "model_dir"):
        if name in flags.FLAGS and flags.FLAGS[name].value:
            return f"--{name}={flags.FLAGS[name].value}"
    return "input or output"


def _exit(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(1)

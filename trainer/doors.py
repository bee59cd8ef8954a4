"""What all commands share: errors that a user can act on become one message and exit code 1."""

import sys
from collections.abc import Callable

import tensorflow as tf

from data.pipeline import bad_example_message


class DoorError(ValueError):
    """A command that cannot be carried out as it was given; the message says what to change."""


def run_door(main: Callable[[list[str]], None], argv: list[str]) -> None:
    """Runs `main`; a ValueError of this project, or a damaged record, ends it with a message instead of a stack trace."""
    if argv[1:]:
        _exit(f"unexpected arguments {' '.join(argv[1:])}: all inputs are flags (--name=value); put quotes around patterns")
    try:
        main(argv)
    except tf.errors.OpError as error:
        message = bad_example_message(error)
        if message is None:
            raise
        _exit(message)
    except ValueError as error:
        if type(error).__module__.split(".")[0] not in ("protos", "data", "kmax_tf", "trainer"):
            raise
        _exit(str(error))


def _exit(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(1)

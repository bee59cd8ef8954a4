"""Runs a function in a separate process, so that its peak memory is measured separately and its GPU memory is released."""

import multiprocessing
import multiprocessing.connection
import signal
import traceback
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from protos.errors import UserError

Progress = Callable[[str], None]


def run_alone(what: str, task: Callable[..., Any], *arguments: Any, progress: Progress) -> Any:
    """Runs `task(*arguments, progress=progress)` in a fresh process and returns its result.

    Args:
      what: name of the task in messages.
      task: a module-level function; its arguments, `progress` and its result are pickled.

    Raises:
      ValueError: the error that the task raised.
      UserError: the process ended without a result, for example because memory ran out, or a device is out of memory.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, task, arguments, progress), daemon=True)
    process.start()
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        process.join()
        cause = f"exit code {process.exitcode}"
        if process.exitcode < 0:
            cause = signal.Signals(-process.exitcode).name
        if process.exitcode == -signal.SIGKILL:
            cause = "the system, probably because memory ran out; try a smaller size or batch"
        raise UserError(f"{what}: the process was ended by {cause}; see its output above") from None
    finally:
        process.kill()
        process.join()
    if isinstance(result, ValueError):
        raise result
    return result


def _serve(
    sender: multiprocessing.connection.Connection, task: Callable[..., Any], arguments: tuple, progress: Progress
) -> None:
    # Ctrl-C reaches both processes; the waiting process ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = task(*arguments, progress=progress)
    except tf.errors.ResourceExhaustedError as error:
        result = UserError(f"out of device memory; try a smaller size: {error.message.splitlines()[0]}")
    except ValueError as error:
        error.add_note(traceback.format_exc())  # shown if nobody handles the error
        result = error
    sender.send(result)

"""Runs a function in a separate process, so that its peak memory is measured separately and its GPU memory is released."""

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
import traceback
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kmax_tf.cli.command import silence_native_log
from protos.errors import UserError, first_line

Progress = Callable[[str], None]


def run_alone(what: str, task: Callable[..., Any], *arguments: Any, progress: Progress) -> Any:
    """Runs `task(*arguments, progress=...)` in a fresh process and returns its result.

    Args:
      what: name of the task in messages.
      task: a module-level function; its arguments and result are pickled.
      arguments: its positional arguments.
      progress: called in this process with every line that the task passes to its own `progress`.

    Raises:
      ValueError: the error that the task raised.
      UserError: the process ended without a result, for example because memory ran out, or a device is out of memory.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, task, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        while True:
            kind, value = receiver.recv()
            if kind == "result":
                return value
            if kind == "error":
                raise value
            progress(value)
    except EOFError:
        process.join()
        raise UserError(_explain(what, process.exitcode)) from None
    finally:
        process.kill()
        process.join()


def _serve(sender: multiprocessing.connection.Connection, task: Callable[..., Any], arguments: tuple) -> None:
    # Ctrl-C reaches both processes; the waiting process ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    silence_native_log()
    # If the waiting process has ended, the next report ends the task.
    with contextlib.suppress(BrokenPipeError):
        try:
            sender.send(("result", task(*arguments, progress=lambda line: sender.send(("progress", line)))))
        except tf.errors.ResourceExhaustedError as error:
            sender.send(("error", UserError(f"out of device memory; try a smaller size: {first_line(error)}")))
        except ValueError as error:
            error.add_note(traceback.format_exc())  # shown if nobody handles the error
            sender.send(("error", error))


def _explain(what: str, exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return f"{what}: the system killed the process, probably because memory ran out; try a smaller size or batch"
    if exit_code is not None and exit_code < 0:
        return f"{what}: the process was killed by {signal.Signals(-exit_code).name}"
    return f"{what}: the process ended with exit code {exit_code} before it finished; see its output above for the cause"

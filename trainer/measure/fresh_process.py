"""Runs a function in a process of its own: its peak memory is its own, and it gives back what it took from a GPU."""

import contextlib
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
    """The result of `task(*arguments, progress=...)`, computed in a fresh process.

    Args:
      what: names the task in messages.
      task: a function of a module; what goes in and out of it is pickled.
      arguments: its positional arguments.
      progress: is called here with every line that the task hands to its own `progress`.

    Raises:
      ValueError: the one that the task raised.
      UserError: the process ended before its result, as when memory runs out; or a device has no memory left.
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
    # Ctrl-C reaches both processes; the one that waits ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Once nobody waits, the next report ends the task.
    with contextlib.suppress(BrokenPipeError):
        try:
            sender.send(("result", task(*arguments, progress=lambda line: sender.send(("progress", line)))))
        except tf.errors.ResourceExhaustedError as error:
            sender.send(("error", UserError(f"a device has no memory left for this: {error.message.splitlines()[0]}")))
        except ValueError as error:
            error.add_note(traceback.format_exc())  # shown where nobody expected the error
            sender.send(("error", error))


def _explain(what: str, exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return f"{what}: the system ended the process, as it does when memory runs out; try a smaller size or batch"
    if exit_code is not None and exit_code < 0:
        return f"{what}: the process was ended by {signal.Signals(-exit_code).name}"
    return f"{what}: the process ended with exit code {exit_code} before it was done; what it printed above tells why"

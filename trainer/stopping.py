"""Stopping a run in an orderly way when the system asks for it."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


class StopRequested(Exception):
    """A signal asked the run to stop; what was in progress is finished."""


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Sets `stop` on SIGTERM and SIGINT; a second signal ends the process at once."""

    def handle(number: int, _) -> None:
        # Not print: the signal may have come while the program was printing.
        os.write(2, f"{signal.Signals(number).name}: stopping and saving ...\n".encode())
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

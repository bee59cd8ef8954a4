"""Stopping a run in an orderly way when the system asks for it."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


class StopRequested(Exception):
    """A signal asked the run to stop; what was in progress is finished."""


class Stop(threading.Event):
    """Is set when a signal has asked the run to stop."""

    signal = 0

    @property
    def exit_code(self) -> int:
        """By the convention of shells: 130 for Ctrl-C, 143 for SIGTERM, also for one that came to another host."""
        return 128 + (self.signal or signal.SIGTERM)


@contextlib.contextmanager
def stop_on_signals(stop: Stop) -> Iterator[None]:
    """Sets `stop` on SIGTERM and SIGINT; a second signal ends the process at once."""

    def handle(number: int, _) -> None:
        # Not print: the signal may have come while the program was printing.
        os.write(2, f"{signal.Signals(number).name}: stopping and saving ...\n".encode())
        stop.signal = number
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

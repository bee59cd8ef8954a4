"""Ends the calls from tf.data into Python before the interpreter shuts down.

An iterator that is destroyed during the shutdown waits for running calls, which wait for an interpreter that no longer runs
them: the process would never end. Therefore all calls are finished, and new ones refused, when the program ends.
"""

import atexit
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

_QUIET_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 20.0

_lock = threading.Lock()
_ending = threading.Event()
_started = 0
_running = 0


def python_call(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a function for tf.numpy_function in a dataset; when the program ends, a call ends the dataset instead."""

    # Otherwise AutoGraph runs its own, slow copy of all Python code below.
    @tf.autograph.experimental.do_not_convert
    @functools.wraps(function)
    def call(*values: np.ndarray) -> Any:
        global _started, _running
        with _lock:
            _started += 1
            _running += 1
        try:
            if _ending.is_set():
                raise StopIteration
            return function(*values)
        finally:
            with _lock:
                _running -= 1

    return call


@atexit.register
def _finish_calls() -> None:
    """Waits until tf.data makes no more calls: nobody reads its bounded buffers any more."""
    _ending.set()
    deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
    seen = 0
    while (_started != seen or _running) and time.monotonic() < deadline:
        seen = _started
        time.sleep(_QUIET_SECONDS)

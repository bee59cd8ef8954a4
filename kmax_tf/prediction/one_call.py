"""Lets several threads call graphs of TensorFlow, one at a time.

TensorFlow's memory optimizer keeps sums of large tensors in temporary variables, named after nodes of the graph. Two calls
at once, of one graph or of graphs whose nodes have the same names, then end with an AlreadyExistsError. One call uses all
cores anyway.
"""

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P, _R = ParamSpec("_P"), TypeVar("_R")
_lock = threading.Lock()


def one_call_at_a_time(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A decorator: calls of all functions that have it, in all threads of a process, run one after the other.

    Such a function must not call another one.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _lock:
            return function(*args, **kwargs)

    return call

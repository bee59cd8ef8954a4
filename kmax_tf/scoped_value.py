"""Values that hold inside a `with` block, for the thread that opens it."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TypeVar

Value = TypeVar("Value")


@contextlib.contextmanager
def scoped(variable: ContextVar[Value], value: Value) -> Iterator[None]:
    """Sets a variable inside the context; other threads have the default, or what they set themselves."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)

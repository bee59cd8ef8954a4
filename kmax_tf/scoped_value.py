"""Values that hold inside a `with` block, for the thread that opens it."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Scoped(Generic[Value]):
    """A value that `with scoped(value):` sets inside the block; other threads have the default, or what they set themselves."""

    def __init__(self, default: Value):
        self._variable = ContextVar("scoped", default=default)

    def get(self) -> Value:
        """The value that holds here."""
        return self._variable.get()

    @contextlib.contextmanager
    def __call__(self, value: Value) -> Iterator[None]:
        """Sets the value inside the context."""
        token = self._variable.set(value)
        try:
            yield
        finally:
            self._variable.reset(token)

"""A value that holds inside a `with` block, for the thread that opens it."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ScopedValue(Generic[Value]):
    """Each thread has its own value: that of its innermost open block, or else the default."""

    def __init__(self, default: Value) -> None:
        self._default = default
        self._local = threading.local()

    def get(self) -> Value:
        """The value of this thread."""
        return getattr(self._local, "value", self._default)

    @contextlib.contextmanager
    def set(self, value: Value) -> Iterator[None]:
        """Sets the value inside the context."""
        outer = self.get()
        self._local.value = value
        try:
            yield
        finally:
            self._local.value = outer

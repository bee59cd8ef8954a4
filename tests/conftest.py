"""Memory of the test processes, each of which runs many modules."""

import ctypes
import gc
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def free_memory() -> Iterator[None]:
    """Gives the memory of a module's models back to the system."""
    yield
    if "tf_keras" in sys.modules:
        sys.modules["tf_keras"].backend.clear_session()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)

"""Elementwise functions compiled to one loop over memory, in place of one loop for each operation."""

import contextlib
import functools
from collections.abc import Callable
from contextvars import ContextVar

import tensorflow as tf

from kmax_tf.scoped_value import scoped

_enabled = ContextVar("one_pass_loops", default=False)


def one_pass_loops(enabled: bool = True) -> contextlib.AbstractContextManager[None]:
    """If `enabled`, graphs traced here compile functions with the decorator `one_pass` by XLA, for each shape."""
    return scoped(_enabled, enabled)


def one_pass_enabled() -> bool:
    """Whether one_pass_loops holds here."""
    return _enabled.get()


def one_pass(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """A function of tensors that one_pass_loops compiles."""
    compiled = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def run(*tensors: tf.Tensor) -> tf.Tensor:
        return (compiled if _enabled.get() else function)(*tensors)

    return run

"""Elementwise functions compiled to one loop over memory, in place of one loop for each operation."""

import contextlib
import functools
from collections.abc import Callable

import tensorflow as tf

from kmax_tf.scoped_value import ScopedValue

_enabled = ScopedValue(False)


def one_pass_loops(enabled: bool = True) -> contextlib.AbstractContextManager[None]:
    """If `enabled`, graphs traced here compile functions with the decorator `one_pass` by XLA, for each shape."""
    return _enabled.set(enabled)


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

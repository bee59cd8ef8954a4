"""Elementwise functions compiled to one loop over memory, in place of one loop for each operation."""

import functools
from collections.abc import Callable

import tensorflow as tf

from kmax_tf.scoped_value import Scoped

# Where true, XLA compiles functions with the decorator `one_pass` in the graphs that are traced, for each shape.
one_pass_loops = Scoped(False)


def one_pass(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """A function of tensors that is compiled where one_pass_loops is true."""
    compiled = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def run(*tensors: tf.Tensor) -> tf.Tensor:
        return (compiled if one_pass_loops.get() else function)(*tensors)

    return run

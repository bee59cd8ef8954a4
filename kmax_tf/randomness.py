"""Random numbers of a training step as a function of (seed, step), so that runs can be repeated and resumed exactly.

TensorFlow's own generators have state that checkpoints do not store. Here each step opens a stream with its own seed, and every
draw in the step takes the next seed of the stream, in tracing order.
"""

import contextlib
import threading
from collections.abc import Iterator

import tensorflow as tf

_local = threading.local()


class RandomStream:
    """Seeds for stateless random ops: the n-th draw has the seed [base seed, n]."""

    def __init__(self, seed: tf.Tensor):
        self._seed = seed
        self._draws = 0

    def next_seed(self) -> tf.Tensor:
        self._draws += 1
        return tf.random.experimental.stateless_fold_in(self._seed, self._draws)


@contextlib.contextmanager
def random_stream(seed: tf.Tensor) -> Iterator[None]:
    """Derives every draw of this thread inside the context from `seed`, an int32 tensor of shape [2]."""
    outer = getattr(_local, "stream", None)
    _local.stream = RandomStream(tf.cast(seed, tf.int32))
    try:
        yield
    finally:
        _local.stream = outer


def uniform(shape: tf.Tensor | tuple[int, ...]) -> tf.Tensor:
    """Uniform float32 numbers in [0, 1) from the open stream, or from TensorFlow's global generator if none is open."""
    stream = getattr(_local, "stream", None)
    if stream is None:
        return tf.random.uniform(shape)
    return tf.random.stateless_uniform(shape, stream.next_seed())

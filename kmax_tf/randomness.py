"""Random numbers of a training step as a function of (seed, step), so that runs can be repeated and resumed exactly.

TensorFlow's own generators have state that checkpoints do not store. Here each step opens a stream with its own seed, and every
draw in the step takes the next seed of the stream, in tracing order.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from kmax_tf.scoped_value import Scoped


class RandomStream:
    """Seeds for stateless random ops: the n-th draw has the seed [base seed, n]."""

    def __init__(self, seed: tf.Tensor, draws: int = 0):
        self._seed = seed
        self._draws = draws

    def next_seed(self) -> tf.Tensor:
        self._draws += 1
        return tf.random.experimental.stateless_fold_in(self._seed, self._draws)

    @contextlib.contextmanager
    def replayed(self, draws: int) -> Iterator[None]:
        """Draws what this stream has drawn, or will draw, after its first `draws` numbers."""
        copy = RandomStream(self._seed, draws)
        with _open_stream(copy):
            yield
        self._draws = max(self._draws, copy._draws)


_open_stream: Scoped[RandomStream | None] = Scoped(None)


def random_stream(seed: tf.Tensor) -> contextlib.AbstractContextManager[None]:
    """Derives every draw of this thread inside the context from `seed`, an int32 tensor of shape [2]."""
    return _open_stream(RandomStream(tf.cast(seed, tf.int32)))


def replay() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Makes contexts in which the same numbers are drawn each time: those that come next now. Needs an open stream."""
    stream = _open_stream.get()
    if stream is None:
        raise RuntimeError("draws without a stream of their own cannot be repeated; open random_stream")
    return functools.partial(stream.replayed, stream._draws)


def uniform(shape: tf.Tensor | Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Uniform float32 numbers in [0, 1) from the open stream, or from TensorFlow's global generator if none is open."""
    stream = _open_stream.get()
    if stream is None:
        return tf.random.uniform(shape)
    return tf.random.stateless_uniform(shape, stream.next_seed())

"""The order of the training examples, which depends only on seed and position, so that training can start at any step.

Everything here is computed in TensorFlow graphs.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

# Every block of this many positions is divided among the sources by their weights.
_BLOCK = 1000
# This many bad examples in a row are not a coincidence.
_REPLACEMENTS = 30
# The random numbers of one stream.
_ORDER, _SOURCES, _OTHERS = range(3)

Choices = Callable[[tf.Tensor], tf.Tensor]


def training_choices(sizes: Sequence[int], weights: Sequence[float], *, seed: int, stream: int, skip: bool) -> Choices:
    """Returns a graph function from a position to its example and, if bad examples are skipped, to replacements for it.

    Positions count the examples since the start of training. Each source has a new permutation of its examples in every epoch,
    that is, it uses all of them before it repeats one. Every 1000 positions contain the same number of examples of a source (at
    least one), in random order: the proportions are exact to a thousandth. There can be up to 1000 sources.

    Args:
      sizes: number of examples of each source; examples are numbered through all sources in order.
      weights: weights of the sources.
      seed: seed of the order, 64 bits.
      stream: choices of different streams are independent.
      skip: whether to return replacements, drawn from the same source; they depend only on seed, stream and position.

    Returns:
      The function; its argument is an int64 scalar, its result int64 [1], or [31] with replacements.
    """
    ends = tf.constant(np.cumsum(sizes), tf.int64)
    counts = tf.constant(sizes, tf.int64)
    locate = _mixed(weights, seed, stream) if len(sizes) > 1 else lambda position: (tf.constant(0), position)

    def choices(position: tf.Tensor) -> tf.Tensor:
        source, rank = locate(position)
        size, end = counts[source], ends[source]
        # The permutation depends on few bits of its seed; therefore, the seed is a hash.
        shuffle = _bits(_key(seed, stream, _ORDER, source, rank // size), 3)
        chosen = end - size + tf.raw_ops.RandomIndexShuffle(index=rank % size, seed=shuffle, max_index=size - 1)
        if not skip:
            return chosen[None]
        key = _key(seed, stream, _OTHERS, position)
        others = tf.random.stateless_uniform([_REPLACEMENTS], key, end - size, end, tf.int64)
        return tf.concat([chosen[None], others], 0)

    return choices


def _mixed(weights: Sequence[float], seed: int, stream: int) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """A function from a position to its source, and to the number of earlier positions of this source."""
    shares = _apportion(np.asarray(weights, float))
    members = tf.constant(np.repeat(np.arange(len(shares)), shares), tf.int32)
    shares = tf.constant(shares, tf.int64)

    def locate(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        block, offset = position // _BLOCK, position % _BLOCK
        sources = tf.gather(members, tf.argsort(_bits(_key(seed, stream, _SOURCES, block), _BLOCK)))
        source = sources[offset]
        return source, block * shares[source] + tf.math.count_nonzero(sources[:offset] == source)

    return locate


def _key(seed: int, stream: int, *numbers: int | tf.Tensor) -> tf.Tensor:
    """A seed for TensorFlow's stateless random numbers, int64 [2], that depends on all of its arguments."""
    key = tf.constant([seed, stream], tf.int64)
    for number in numbers:
        key = tf.random.experimental.stateless_fold_in(key, tf.cast(number, tf.int64))
    return key


def _bits(key: tf.Tensor, count: int) -> tf.Tensor:
    return tf.random.stateless_uniform([count], key, None, None, tf.uint32)


def _apportion(weights: np.ndarray) -> np.ndarray:
    """Divides _BLOCK positions among the sources by largest remainders, at least one each, at the expense of the largest."""
    exact = weights / weights.sum() * _BLOCK
    shares = np.floor(exact).astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: _BLOCK - shares.sum()]] += 1
    for source in np.flatnonzero(shares == 0):
        shares[np.argmax(shares)] -= 1
        shares[source] = 1
    return shares


def positions(step: tf.Tensor | int, *, batch_size: int, shard: int, num_shards: int) -> tf.Tensor:
    """The positions of the examples of a shard in one step, int64 [batch_size / num_shards].

    Step k uses the positions k * batch_size .. (k + 1) * batch_size - 1, and each shard takes consecutive ones.
    """
    per_shard = batch_size // num_shards
    return tf.cast(step, tf.int64) * batch_size + shard * per_shard + tf.range(per_shard, dtype=tf.int64)

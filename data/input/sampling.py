"""The order of the training examples, which depends only on seed and position, so that training can start at any step."""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

# Number of permutations in memory.
_CACHED = 3
# Every block of this many positions is divided among the sources by their weights.
_BLOCK = 1000
# This many bad examples in a row are not a coincidence.
_REPLACEMENTS = 30


class ExampleOrder:
    """A new permutation of all examples in every epoch.

    Positions count the examples since the start of training; position p belongs to epoch p // num_examples. Orders with
    different `stream` are independent.
    """

    def __init__(self, num_examples: int, *, seed: int, stream: Sequence[int] = (0,)) -> None:
        self._num_examples = num_examples
        entropy = [seed & (2**64 - 1), *stream]

        @functools.lru_cache(_CACHED)
        def permutation(epoch: int) -> np.ndarray:
            return np.random.default_rng([*entropy, epoch]).permutation(num_examples)

        self._epoch = permutation

    def at(self, position: int) -> int:
        """Index of the example at a position, in O(1) except at the first position of an epoch."""
        epoch, offset = divmod(position, self._num_examples)
        return int(self._epoch(epoch)[offset])


class MixedOrder:
    """Mixes the examples of several sources, each in its own ExampleOrder, in proportion to their weights.

    Every 1000 positions contain the same number of examples of a source (at least one), in random order: the proportions are
    exact to a thousandth, and a source uses all its examples before it repeats one. There can be up to 1000 sources.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], *, seed: int, stream: int = 0) -> None:
        """`sizes` are the numbers of examples; indices count through all sources in order."""
        self._orders = [ExampleOrder(size, seed=seed, stream=(stream, k)) for k, size in enumerate(sizes)]
        self._offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._shares = _apportion(np.asarray(weights, float))
        sources = np.repeat(np.arange(len(sizes)), self._shares)
        entropy = [seed & (2**64 - 1), stream]

        @functools.lru_cache(_CACHED)
        def permutation(block: int) -> np.ndarray:
            return np.random.default_rng([*entropy, len(sizes), block, 1]).permutation(sources)

        self._block = permutation

    def at(self, position: int) -> int:
        """Index of the example at a position."""
        block, offset = divmod(position, _BLOCK)
        sources = self._block(block)
        source = sources[offset]
        earlier = int(np.count_nonzero(sources[:offset] == source))
        return int(self._offsets[source]) + self._orders[source].at(block * int(self._shares[source]) + earlier)


def training_choices(
    sizes: Sequence[int], weights: Sequence[float], *, seed: int, stream: int, skip: bool
) -> Callable[[int], Iterator[int]]:
    """Returns a function from a position to its example and, if bad examples are skipped, to replacements for it.

    Args:
      sizes: number of examples of each source.
      weights: weights of the sources.
      seed: seed of the order.
      stream: choices of different streams are independent.
      skip: whether to yield replacements, drawn from the same source; they depend only on seed, stream and position.
    """
    if len(sizes) > 1:
        order = MixedOrder(sizes, weights, seed=seed, stream=stream)
    else:
        order = ExampleOrder(sizes[0], seed=seed, stream=(stream,))
    ends = np.cumsum(sizes)

    def choices(position: int) -> Iterator[int]:
        number = order.at(position)
        yield number
        if skip:
            source = int(np.searchsorted(ends, number, side="right"))
            rng = np.random.default_rng([seed & (2**64 - 1), stream, position, _REPLACEMENTS])
            yield from rng.integers(ends[source] - sizes[source], ends[source], size=_REPLACEMENTS).tolist()

    return choices


def _apportion(weights: np.ndarray) -> np.ndarray:
    """Divides _BLOCK positions among the sources by largest remainders, at least one each, at the expense of the largest."""
    exact = weights / weights.sum() * _BLOCK
    shares = np.floor(exact).astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: _BLOCK - shares.sum()]] += 1
    for source in np.flatnonzero(shares == 0):
        shares[np.argmax(shares)] -= 1
        shares[source] = 1
    return shares


def position(counter: int, *, batch_size: int, shard: int, num_shards: int) -> int:
    """Position of the example number `counter` of a shard; works on integers and integer tensors.

    Step k uses the positions k * batch_size .. (k + 1) * batch_size - 1, and each shard takes consecutive ones.
    """
    per_shard = batch_size // num_shards
    return counter // per_shard * batch_size + shard * per_shard + counter % per_shard

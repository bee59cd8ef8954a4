"""The order in which training sees the examples: a function of seed and position, so that training can start anywhere."""

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

_KEPT = 3
# Sources share every block of so many positions by their weights.
_BLOCK = 1000
# A run of so many bad examples is not chance.
_REPLACEMENTS = 30


class _Recent:
    """The last few values of a function of an integer."""

    def __init__(self, make: Callable[[int], np.ndarray]) -> None:
        self._make = make
        self._values: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __call__(self, number: int) -> np.ndarray:
        with self._lock:
            if number not in self._values:
                self._values[number] = self._make(number)
                while len(self._values) > _KEPT:
                    del self._values[next(iter(self._values))]
            return self._values[number]


class ExampleOrder:
    """A new permutation of all examples in every epoch.

    Positions count the examples that training has used since its start; position p belongs to epoch p // num_examples.
    Orders of different `stream` are independent.
    """

    def __init__(self, num_examples: int, *, seed: int, stream: Sequence[int] = (0,)) -> None:
        self._num_examples = num_examples
        entropy = [seed & (2**64 - 1), *stream]
        self._epoch = _Recent(lambda epoch: np.random.default_rng([*entropy, epoch]).permutation(num_examples))

    def at(self, position: int) -> int:
        """Index of the example at a position, in O(1) but for the first position of an epoch."""
        epoch, place = divmod(position, self._num_examples)
        return int(self._epoch(epoch)[place])


class MixedOrder:
    """Examples of several sources, each in an ExampleOrder of its own, in proportion to weights.

    Every 1000 positions hold the same number of each source (at least one), in random order: the proportions are exact to a
    thousandth, and a source goes through all its examples before it repeats one. There can be 1000 sources.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], *, seed: int, stream: int = 0) -> None:
        """`sizes` are the numbers of examples; indices count through the sources in their order."""
        self._orders = [ExampleOrder(size, seed=seed, stream=(stream, k)) for k, size in enumerate(sizes)]
        self._offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._shares = _apportion(np.asarray(weights, float))
        sources = np.repeat(np.arange(len(sizes)), self._shares)
        entropy = [seed & (2**64 - 1), stream]
        self._block = _Recent(lambda block: np.random.default_rng([*entropy, len(sizes), block, 1]).permutation(sources))

    def at(self, position: int) -> int:
        """Index of the example at a position."""
        block, place = divmod(position, _BLOCK)
        sources = self._block(block)
        source = sources[place]
        earlier = int(np.count_nonzero(sources[:place] == source))
        return int(self._offsets[source]) + self._orders[source].at(block * int(self._shares[source]) + earlier)


def training_choices(
    sizes: Sequence[int], weights: Sequence[float], *, seed: int, stream: int, skip: bool
) -> Callable[[int], Iterator[int]]:
    """What may be the example at a position: the one whose turn it is and then, if bad ones are skipped, others in its place.

    Args:
      sizes: numbers of examples of the sources.
      weights: shares of the sources.
      seed: decides the order.
      stream: choices of different streams are independent.
      skip: whether there are replacements, drawn from the same source; they depend on seed, stream and position alone.
    """
    order = (
        MixedOrder(sizes, weights, seed=seed, stream=stream)
        if len(sizes) > 1
        else ExampleOrder(sizes[0], seed=seed, stream=(stream,))
    )

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
    """How many of _BLOCK positions each source has: by largest remainders, but at least one, at the expense of the largest."""
    exact = weights / weights.sum() * _BLOCK
    shares = np.floor(exact).astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: _BLOCK - shares.sum()]] += 1
    for source in np.flatnonzero(shares == 0):
        shares[np.argmax(shares)] -= 1
        shares[source] = 1
    return shares


def position(counter: int, *, batch_size: int, shard: int, num_shards: int) -> int:
    """Position of the example that shard `shard` yields as its number `counter`.

    Step k uses the positions k * batch_size .. (k + 1) * batch_size - 1; each shard takes consecutive ones. Works on integers
    and integer tensors alike.
    """
    per_shard = batch_size // num_shards
    return counter // per_shard * batch_size + shard * per_shard + counter % per_shard

"""The order in which training sees the examples: a function of seed and position, so that training can start anywhere."""

import threading

import numpy as np

_EPOCHS_KEPT = 3


class ExampleOrder:
    """A new permutation of all examples in every epoch.

    Positions count the examples that training has used since its start; position p belongs to epoch p // num_examples.
    Orders of different `stream` are independent.
    """

    def __init__(self, num_examples: int, *, seed: int, stream: int = 0) -> None:
        self._num_examples = num_examples
        self._entropy = (seed & (2**64 - 1), stream)
        self._epochs: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def at(self, position: int) -> int:
        """Index of the example at a position, in O(1) but for the first position of an epoch."""
        epoch, place = divmod(position, self._num_examples)
        with self._lock:
            if epoch not in self._epochs:
                self._epochs[epoch] = np.random.default_rng([*self._entropy, epoch]).permutation(self._num_examples)
                while len(self._epochs) > _EPOCHS_KEPT:
                    del self._epochs[next(iter(self._epochs))]
            return int(self._epochs[epoch][place])


def position(counter: int, *, batch_size: int, shard: int, num_shards: int) -> int:
    """Position of the example that shard `shard` yields as its number `counter`.

    Step k uses the positions k * batch_size .. (k + 1) * batch_size - 1; each shard takes consecutive ones. Works on integers
    and integer tensors alike.
    """
    per_shard = batch_size // num_shards
    return counter // per_shard * batch_size + shard * per_shard + counter % per_shard

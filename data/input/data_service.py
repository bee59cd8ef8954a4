"""Runs the training input on the workers of a tf.data service; docs/data_service.md starts them."""

import multiprocessing.pool
import socket
from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

from data.records.errors import DataError
from protos.descriptions import ConfigError

_CONNECT_SECONDS = 10.0
# A client of a service whose last worker has ended waits forever.
_SILENCE_SECONDS = 180.0

Result = TypeVar("Result")


def distribute(dataset: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """The same elements, made by the workers of the service at `address`.

    The elements of the source of `dataset` are divided among the workers: each is used once, and their order is kept if there
    is one worker.

    Raises:
      ConfigError: there is no service at this address.
    """
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OverflowError, OSError) as error:
        raise ConfigError(
            f"train_dataset_options.data_service {address}: {error}: start it as in docs/data_service.md"
        ) from None
    service = tf.data.experimental.service
    # Augmented pixels do not compress.
    return dataset.apply(service.distribute(service.ShardingPolicy.DYNAMIC, address, compression=None))


class ServiceTimeout:
    """Waits for batches of a data service, but not forever."""

    def __init__(self, address: str) -> None:
        """`address` of the service; if it is empty, calls have no time limit."""
        self._address = address
        # Its thread is a daemon: it does not keep a program that ends waiting.
        self._thread = multiprocessing.pool.ThreadPool(1) if address else None

    def wait_for(self, call: Callable[[], Result]) -> Result:
        """The result of `call`, which takes a batch from an iterator.

        Raises:
          DataError: no batch has come for three minutes; the iterator is lost.
        """
        if not self._thread:
            return call()
        try:
            return self._thread.apply_async(call).get(_SILENCE_SECONDS)
        except multiprocessing.TimeoutError:
            raise DataError(
                f"train_dataset_options.data_service {self._address} has sent nothing for {_SILENCE_SECONDS:.0f} seconds: have "
                "its workers ended? Start them again (docs/data_service.md); the same command goes on from the last checkpoint"
            ) from None

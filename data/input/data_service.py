"""Runs the training input on the workers of a tf.data service; docs/data_service.md starts them."""

import queue
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

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
        """`address` of the service; if it is empty, there is none, and a call takes as long as it takes."""
        self._address = address
        self._calls: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        if address:
            threading.Thread(target=self._serve, daemon=True).start()

    def wait_for(self, call: Callable[[], Result]) -> Result:
        """The result of `call`, which takes a batch from an iterator.

        Raises:
          DataError: no batch has come for three minutes; the iterator is lost.
        """
        if not self._address:
            return call()
        self._calls.put(call)
        try:
            is_error, result = self._results.get(timeout=_SILENCE_SECONDS)
        except queue.Empty:
            raise DataError(
                f"train_dataset_options.data_service {self._address} has sent nothing for {_SILENCE_SECONDS:.0f} seconds: have "
                "its workers ended? Start them again (docs/data_service.md); the same command goes on from the last checkpoint"
            ) from None
        if is_error:
            raise result
        return result

    def _serve(self) -> None:
        while True:
            try:
                self._results.put((False, self._calls.get()()))
            except Exception as error:
                self._results.put((True, error))

"""Watches which classes occur in training examples; batches say it in a few bits of each example."""

import numpy as np
import tensorflow as tf
from absl import logging

from protos.descriptions import DatasetInfo

# The first examples of a process, which are watched.
WATCHED_EXAMPLES = 1000
_BITS = 62  # of an int64, without its sign


def class_bits(classes: tf.Tensor, info: DatasetInfo) -> tf.Tensor:
    """In a graph: class ids int32 [k], those of others allowed -> a bit for each class of `info`, in int64 [num_words]."""
    occurs = tf.reduce_any(classes[:, None] == tf.constant([c.id for c in info.classes], tf.int32), axis=0)
    occurs = tf.pad(tf.cast(occurs, tf.int64), [[0, num_words(info) * _BITS - info.num_classes]])
    powers = tf.constant([1 << bit for bit in range(_BITS)], tf.int64)
    return tf.reduce_sum(tf.reshape(occurs, [-1, _BITS]) * powers, axis=1)


def num_words(info: DatasetInfo) -> int:
    """How many numbers class_bits returns."""
    return -(-info.num_classes // _BITS)


class MissingClasses:
    """Warns once of the classes that occur in none of the first WATCHED_EXAMPLES examples."""

    def __init__(self, info: DatasetInfo):
        self._info = info
        self._examples = 0
        self._occurs = np.zeros([num_words(info) * _BITS], bool)

    def add(self, bits: np.ndarray) -> None:
        """Counts the class_bits of examples, int64 [b, num_words]."""
        if self._examples >= WATCHED_EXAMPLES or not len(bits):
            return
        self._examples += len(bits)
        self._occurs |= (np.bitwise_or.reduce(bits, axis=0)[:, None] >> np.arange(_BITS) & 1).astype(bool).ravel()
        missing = [c.name for c, occurs in zip(self._info.classes, self._occurs) if not occurs]
        if missing and self._examples >= WATCHED_EXAMPLES:
            logging.warning(
                "%d of the %d classes of %s occur in none of the first %d training examples: %s. If they are not just rare, "
                "records or description are wrong; data/inspect_dataset.py counts the segments of each class",
                *(len(missing), self._info.num_classes, self._info.name, self._examples, ", ".join(missing)),
            )

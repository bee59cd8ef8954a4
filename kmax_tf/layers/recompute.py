"""Gradient checkpointing: the backward pass computes the inside of a block again, instead of memory keeping it till then."""

import contextlib
import threading
from collections.abc import Iterator

import tensorflow as tf
import tf_keras

from kmax_tf import randomness
from kmax_tf.layers.normalization import moving_statistics_kept

_local = threading.local()


@contextlib.contextmanager
def recomputed_blocks(enabled: bool) -> Iterator[None]:
    """Of blocks that are called here with `run_block` and training, memory keeps the input alone if `enabled`."""
    outer = getattr(_local, "enabled", False)
    _local.enabled = enabled
    try:
        yield
    finally:
        _local.enabled = outer


def run_block(block: tf_keras.layers.Layer, x: tf.Tensor, training: bool) -> tf.Tensor:
    """block(x, training=training), one tensor to one tensor; see recomputed_blocks.

    Computed again, a block draws the same random numbers, and does not update the moving statistics of batch norm once more.
    """
    if not (training and getattr(_local, "enabled", False)):
        return block(x, training=training)
    passes = []
    replay = randomness.replay()

    @tf.recompute_grad
    def run(x: tf.Tensor) -> tf.Tensor:
        passes.append(None)
        with replay(), moving_statistics_kept(len(passes) > 1):
            return block(x, training=True)

    return run(x)

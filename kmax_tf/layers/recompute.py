"""Gradient checkpointing: the backward pass computes the inside of a block again, instead of memory keeping it till then."""

import contextlib
from contextvars import ContextVar

import tensorflow as tf
import tf_keras

from kmax_tf import randomness
from kmax_tf.layers.normalization import moving_statistics_kept
from kmax_tf.scoped_value import scoped

_enabled = ContextVar("recomputed_blocks", default=False)


def recomputed_blocks(enabled: bool) -> contextlib.AbstractContextManager[None]:
    """Of blocks that are called here with `run_block` and training, memory keeps the input alone if `enabled`."""
    return scoped(_enabled, enabled)


def run_block(block: tf_keras.layers.Layer, x: tf.Tensor, training: bool) -> tf.Tensor:
    """block(x, training=training), one tensor to one tensor; see recomputed_blocks.

    Computed again, a block draws the same random numbers, and does not update the moving statistics of batch norm once more.
    """
    if not (training and _enabled.get()):
        return block(x, training=training)
    passes = []
    replay = randomness.replay()

    @tf.recompute_grad
    def run(x: tf.Tensor) -> tf.Tensor:
        passes.append(None)
        with replay(), moving_statistics_kept(len(passes) > 1):
            return block(x, training=True)

    return run(x)

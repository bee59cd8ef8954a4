"""Gradient checkpointing: the backward pass computes the inside of a block again, instead of keeping it in memory."""

import tensorflow as tf
import tf_keras
from tensorflow.compiler.tf2xla.python import xla

from kmax_tf import randomness
from kmax_tf.layers.normalization import moving_statistics_kept
from kmax_tf.layers.xla_program import in_xla_program
from kmax_tf.scoped_value import Scoped

# Where true, only the input of a block that `run_block` calls in training is kept for the backward pass.
recomputed_blocks = Scoped(False)


def run_block(block: tf_keras.layers.Layer, x: tf.Tensor, training: bool) -> tf.Tensor:
    """block(x, training=training), one tensor to one tensor; see recomputed_blocks.

    Computed again, a block draws the same random numbers, and does not update the moving statistics of batch norm once more.
    """
    if not (training and recomputed_blocks.get()):
        return block(x, training=training)
    passes = []
    replay = randomness.replay()

    @tf.recompute_grad
    def run(x: tf.Tensor) -> tf.Tensor:
        passes.append(None)
        again = len(passes) > 1
        if again and in_xla_program():
            x = _other_value(x)
        with replay(), moving_statistics_kept(again):
            return block(x, training=True)

    return run(x)


@tf.custom_gradient
def _other_value(x: tf.Tensor):
    """x, which XLA for TPUs takes for another value: it would merge computations of the same values, and keep the results."""
    return xla.optimization_barrier(x)[0], lambda upstream: upstream

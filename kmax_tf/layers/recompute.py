"""Gradient checkpointing: the backward pass computes the inside of a block again, instead of keeping it in memory."""

from collections.abc import Sequence

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
    replay = randomness.replay()

    @tf.custom_gradient
    def run(x: tf.Tensor):
        with replay():
            y = block(x, training=True)

        def gradient(upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> tuple[tf.Tensor, list[tf.Tensor]]:
            again = _once_known(upstream, x)
            with tf.GradientTape() as tape, replay(), moving_statistics_kept(True):
                tape.watch(again)
                y = block(again, training=True)
            of_x, *of_variables = tape.gradient(y, [again, *variables], upstream)
            return of_x, [tf.convert_to_tensor(of_variable) for of_variable in of_variables]  # those of a gather are sparse

        return y, gradient

    return run(x)


def _once_known(upstream: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """x, as a value that is not there before `upstream` is."""
    if in_xla_program():
        # XLA ignores control dependencies. It would compute the block again at once, or see that both results are the same.
        return xla.optimization_barrier(x, upstream)[0]
    with tf.control_dependencies([upstream]):
        return tf.identity(x)

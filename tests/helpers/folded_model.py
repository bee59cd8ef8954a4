"""A model whose norms are folded for a while."""

import contextlib
from collections.abc import Iterator

import tf_keras

from kmax_tf.inference_graph import fold_norms
from kmax_tf.layers.normalization import BatchNorm
from kmax_tf.layers.one_pass import one_pass_loops


@contextlib.contextmanager
def folded(model: tf_keras.Model) -> Iterator[None]:
    """Inside, the norms of a model are folded, and its remaining loops over memory are compiled."""
    values = [variable.numpy() for variable in model.variables]
    fold_norms(model)
    try:
        with one_pass_loops():
            yield
    finally:
        for variable, value in zip(model.variables, values):
            variable.assign(value)
        for layer in model.submodules:
            if isinstance(layer, BatchNorm):
                layer.folded = False

"""A model whose norms are folded for a while."""

import contextlib
from collections.abc import Iterator

import tf_keras

from kmax_tf.inference_graph import NormFolding
from kmax_tf.layers.one_pass import one_pass_loops


@contextlib.contextmanager
def folded(model: tf_keras.Model) -> Iterator[None]:
    """Inside, the norms of a model are folded, and its remaining loops over memory are compiled."""
    with NormFolding(model).applied(), one_pass_loops(True):
        yield

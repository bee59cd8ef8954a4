"""The form of a model that is fast in inference: the same outputs with fewer passes over memory.

`fold_norms` moves batch norms into the products before them, so that TensorFlow computes a product, its bias, a residual sum
and an activation in one pass; `kmax_tf.layers.one_pass.one_pass_loops` compiles the remaining passes. Both change the graphs
that are traced afterwards; variables keep their names, shapes and types. `inference_network` chooses between these loops and
a program of XLA for all of the network, which starts one operation where TensorFlow starts hundreds: what counts on a GPU.
"""

from collections.abc import Callable

import tensorflow as tf

from kmax_tf.layers.one_pass import one_pass_loops
from kmax_tf.model import KMaXDeepLab
from kmax_tf.tensor_keys import Outputs
from protos import experiment_pb2


def fold_norms(model: KMaXDeepLab) -> None:
    """Changes the weights of a model so that most of its batch norms only add a bias; it cannot be trained or saved afterwards.

    Layers with the method `fold_norm` fold their own norms. Outputs in inference differ by float32 rounding.
    """
    for layer in model.submodules:
        if hasattr(layer, "fold_norm"):
            layer.fold_norm()


def inference_network(model: KMaXDeepLab, config: experiment_pb2.ExperimentOptions) -> Callable[..., Outputs]:
    """The model as a function with its arguments, compiled by XLA: all of it with trainer_options.jit_compile, or its loops."""
    if config.trainer_options.jit_compile:
        return tf.function(model, jit_compile=True, autograph=False)

    def network(images: tf.Tensor, **arguments: bool) -> Outputs:
        with one_pass_loops():
            return model(images, **arguments)

    return network

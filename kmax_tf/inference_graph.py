"""The form of a model that is fast in inference: the same outputs with fewer passes over memory.

`fold_norms` moves batch norms into the products before them, so that TensorFlow computes a product, its bias, a residual sum
and an activation in one pass; `kmax_tf.layers.one_pass.one_pass_loops` compiles the remaining passes. Both change the graphs
that are traced afterwards; variables keep their names, shapes and types. `inference_maps` chooses between these loops and a
program of XLA for everything from images to maps, which starts one operation where TensorFlow starts hundreds: what counts on
a GPU.
"""

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf

from kmax_tf.layers.normalization import BatchNorm
from kmax_tf.layers.one_pass import one_pass_loops
from kmax_tf.model import KMaXDeepLab
from kmax_tf.postprocessing.postprocessor import build_postprocessor
from kmax_tf.tensor_keys import Outputs
from protos import experiment_pb2

InferenceMaps = Callable[..., tuple[dict[str, tf.Tensor], Outputs]]


def fold_norms(model: KMaXDeepLab) -> None:
    """Changes the weights of a model so that most of its batch norms only add a bias; it cannot be trained or saved afterwards.

    Layers with the method `fold_norm` fold their own norms. Outputs in inference differ by float32 rounding.
    """
    NormFolding(model).fold()


class NormFolding:
    """Folds the norms of a model, also again and again for a while: between the evaluations of a training run, for example."""

    def __init__(self, model: KMaXDeepLab):
        layers = list(model.submodules)
        self._layers = [layer for layer in layers if hasattr(layer, "fold_norm")]
        self._norms = [layer for layer in layers if isinstance(layer, BatchNorm)]
        # A layer changes its own weights alone, and no statistics.
        self._weights = list({id(v): v for layer in self._layers for v in layer.trainable_variables}.values())

    def fold(self) -> None:
        """See fold_norms."""
        for layer in self._layers:
            layer.fold_norm()

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Folds for the duration of a `with` block, after which all weights are the same as before, bit for bit.

        Graphs that are traced inside can be used in later blocks, and compute with the weights that the model has then. Memory
        keeps a second copy of the weights meanwhile.
        """
        values = [weight.read_value() for weight in self._weights]
        try:
            self.fold()
            yield
        finally:
            for weight, value in zip(self._weights, values, strict=True):
                weight.assign(value)
            for norm in self._norms:
                norm.folded = False


def inference_maps(model: KMaXDeepLab, config: experiment_pb2.ExperimentOptions, *, compiled: bool = True) -> InferenceMaps:
    """Returns the function `maps, outputs = function(images, semantic=False)` for a model and its config.

    `images` are network inputs [B, H, W, 3] of a static size, 0..255; the maps are those of `kmax_tf.build_postprocessor` at
    their size, and the outputs those of the model, with the semantic logits for the loss if `semantic` is true. With
    evaluator_options.merge_at_raw_size there are no maps of this size: {}.

    `compiled`: by XLA, which programs that convert a graph cannot read: all of it with trainer_options.jit_compile, otherwise
    the loops of the model.
    """
    postprocess = build_postprocessor(config)
    merges_later = config.evaluator_options.merge_at_raw_size
    whole = compiled and config.trainer_options.jit_compile

    def predict(images: tf.Tensor, *, semantic: bool = False) -> tuple[dict[str, tf.Tensor], Outputs]:
        with one_pass_loops(compiled and not whole):
            outputs = model(images, training=False, semantic=semantic)
        return {} if merges_later else postprocess(outputs, images.shape[1:3]), outputs

    return tf.function(predict, jit_compile=True, autograph=False) if whole else predict

"""Writes a network as a StableHLO module: class and mask logits, which kmax_tf.Predictor completes in NumPy."""

import pathlib
import tempfile

import tensorflow as tf

from trainer.formats.network import Network

# Readers of this and later versions understand the artifact.
_VERSION = "1.0.0"


def write_stablehlo(network: Network, path: pathlib.Path) -> None:
    """Writes a portable artifact with the weights as constants; the network has a batch size."""
    # Only this format needs these compilers.
    from tensorflow.compiler.mlir.stablehlo import stablehlo
    from tensorflow.compiler.mlir.tensorflow_to_stablehlo.python import pywrap_tensorflow_to_stablehlo

    with tempfile.TemporaryDirectory() as temporary:
        tf.saved_model.save(network.weights(), temporary, signatures={"serving_default": network.function})
        # Unlike the compiler's own StableHLO (experimental_get_compiler_ir), this one has no operations of other dialects.
        module = pywrap_tensorflow_to_stablehlo.savedmodel_to_stablehlo(
            temporary, input_arg_shapes_str=",".join(map(str, network.spec.shape))
        )
    path.write_bytes(stablehlo.serialize_portable_artifact_str(module, _VERSION))

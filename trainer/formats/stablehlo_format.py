"""Writes a network as a StableHLO module: class and mask logits, which kmax_tf.Predictor completes in NumPy."""

import pathlib
import tempfile
from typing import Any

import tensorflow as tf

from kmax_tf.prediction.opening import FORMAT_FILES
from trainer.formats.network import Network, described, described_outputs

# Readers of this and later versions understand the artifact.
_VERSION = "1.0.0"


def write_stablehlo(network: Network, folder: pathlib.Path) -> dict[str, Any]:
    """Writes model.stablehlo for one image and returns its entry in model.json."""
    file = FORMAT_FILES["stablehlo"]
    write_program(network, 1, folder / file)
    return described(file, 1, network.crop, described_outputs(network.function(1)))


def write_program(network: Network, batch_size: int, path: pathlib.Path) -> None:
    """Writes a portable artifact for `batch_size` images, with the weights as constants, to `path`."""
    # Only this format needs these compilers.
    from tensorflow.compiler.mlir.stablehlo import stablehlo
    from tensorflow.compiler.mlir.tensorflow_to_stablehlo.python import pywrap_tensorflow_to_stablehlo

    with tempfile.TemporaryDirectory() as temporary:
        tf.saved_model.save(network.weights(), temporary, signatures={"serving_default": network.function(batch_size)})
        # Unlike the compiler's own StableHLO (experimental_get_compiler_ir), this one has no operations of other dialects.
        module = pywrap_tensorflow_to_stablehlo.savedmodel_to_stablehlo(
            temporary, input_arg_shapes_str=",".join(map(str, network.spec(batch_size).shape))
        )
    path.write_bytes(stablehlo.serialize_portable_artifact_str(module, _VERSION))

"""Writes a network as TFLite (LiteRT): class and mask logits, which kmax_tf.Predictor completes in NumPy."""

import pathlib
from typing import Any

import tensorflow as tf

from kmax_tf.layers.activations import tflite_operations
from kmax_tf.prediction.opening import FORMAT_FILES
from trainer.formats.network import Network, described, described_outputs

PRECISIONS = ("float32", "float16", "int8")


def write_tflite(network: Network, folder: pathlib.Path, precision: str = "float32") -> dict[str, Any]:
    """Writes model.tflite for one image, and returns its entry in model.json.

    `precision` is that of the stored weights; int8 also computes products with activations that are quantized on the fly.
    """
    function = network.function(1)
    with tflite_operations():
        graph = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph], network.weights())
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    file = FORMAT_FILES["tflite"]
    (folder / file).write_bytes(converter.convert())
    return described(file, 1, network.crop, described_outputs(function)) | {"weights": precision}

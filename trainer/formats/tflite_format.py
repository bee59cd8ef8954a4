"""Writes a network as TFLite (LiteRT): class and mask logits, which kmax_tf.Predictor completes in NumPy."""

import pathlib

import tensorflow as tf

from kmax_tf.layers.activations import tflite_operations
from trainer.formats.network import Network

PRECISIONS = ("float32", "float16", "int8")


def write_tflite(network: Network, path: pathlib.Path, weights: str = "float32") -> None:
    """Writes a TFLite file.

    `weights` is their precision, one of PRECISIONS; int8 also computes products with activations that are quantized on the fly.
    """
    with tflite_operations(True):
        graph = network.function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph], network.weights())
    if weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    path.write_bytes(converter.convert())

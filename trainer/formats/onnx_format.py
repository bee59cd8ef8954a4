"""Writes a network as ONNX: class and mask logits, which kmax_tf.Predictor completes in NumPy."""

import pathlib
from typing import Any

import numpy as np

from trainer.formats.network import Network

_OPSET = 18  # the newest that tf2onnx writes


def write_onnx(network: Network, path: pathlib.Path) -> None:
    """Writes an ONNX file."""
    import onnx  # an extra of this project
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(network.function, input_signature=[network.spec], opset=_OPSET)
    _correct_sizes(model.graph, onnx.numpy_helper)
    onnx.save(model, str(path))


def _correct_sizes(graph: Any, numpy_helper: Any) -> None:
    """Enlarges the scales of resizing by less than a pixel.

    tf2onnx writes 13/7 in float32, and the size of the result is rounded down: 7 * 13/7 becomes 12.
    """
    scales = {node.input[2] for node in graph.node if node.op_type == "Resize" and len(node.input) == 3}
    for tensor in graph.initializer:
        if tensor.name in scales:
            values = numpy_helper.to_array(tensor)
            larger = np.where(values == np.round(values), values, values * np.float32(1 + 1e-6))
            tensor.CopyFrom(numpy_helper.from_array(larger.astype(np.float32), tensor.name))

"""Writes a network as ONNX: class and mask logits, which kmax_tf.Predictor completes in NumPy."""

import pathlib
from typing import Any

import numpy as np

from kmax_tf.prediction.opening import FORMAT_FILES
from trainer.formats.network import Network, described, described_outputs

_OPSET = 18  # the newest that tf2onnx writes


def write_onnx(network: Network, folder: pathlib.Path) -> dict[str, Any]:
    """Writes model.onnx for batches of any size, and returns its entry in model.json."""
    import onnx  # an extra of this project
    import tf2onnx

    function = network.function(None)
    model, _ = tf2onnx.convert.from_function(function, input_signature=[network.spec(None)], opset=_OPSET)
    _correct_sizes(model.graph, onnx.numpy_helper)
    file = FORMAT_FILES["onnx"]
    onnx.save(model, str(folder / file))
    return described(file, None, network.crop, described_outputs(function))


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

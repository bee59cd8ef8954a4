"""Reads weight files of other projects: safetensors, HDF5 and .keras archives."""

import io
import re
import zipfile

import h5py
import numpy as np
import safetensors
import tensorflow as tf

from kmax_tf.checkpoints.errors import CheckpointError, readable

# Weights hardly compress: a file that expands more than this is damaged, or made to fill the memory.
_MOST_EXPANSION = 10
_NUMBERS = "fiu"
_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": tf.bfloat16.as_numpy_dtype}
_WEIGHTS_IN_ARCHIVE = "model.weights.h5"
_KERAS_3 = re.compile(r"(conv2d|dense|layer_normalization|layer_scale)(?:_\d+)?/vars/([01])$")
_WEIGHTS = {"layer_normalization": ("gamma", "beta"), "layer_scale": ("gamma", "gamma")}


def read_safetensors(path: str) -> dict[str, np.ndarray]:
    """The tensors of a file by name, floating-point with 16 to 64 bits.

    Raises:
      CheckpointError: the file does not exist, is damaged, or holds another data type.
    """
    content = _read(path)
    with readable(path, "safetensors file"):
        tensors = safetensors.deserialize(content)
    values = {}
    for key, tensor in tensors:
        if tensor["dtype"] not in _FLOATS:
            raise CheckpointError(
                f"{path}: tensor {key} has the type {tensor['dtype']}: save the weights as one of {', '.join(_FLOATS)}"
            )
        values[key] = np.frombuffer(tensor["data"], _FLOATS[tensor["dtype"]]).reshape(tensor["shape"])
    return values


def read_keras(path: str) -> dict[str, np.ndarray]:
    """The weights of a Keras model by "layer/weight", from HDF5 (weights or model, Keras 2 or 3) or a .keras archive.

    Raises:
      CheckpointError: the file does not exist or is damaged.
    """
    content = _read(path)
    with readable(path, "Keras file"):
        if path.endswith(".keras"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                _check_expansion(path, archive.getinfo(_WEIGHTS_IN_ARCHIVE).file_size, len(content))
                content = archive.read(_WEIGHTS_IN_ARCHIVE)
        with h5py.File(io.BytesIO(content), "r") as file:
            return _layers(path, file, len(content))


def _read(path: str) -> bytes:
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise CheckpointError(f"{path}: no such file")
    with readable(path, "weight file"), tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def _check_expansion(source: str, size: int, stored: int) -> None:
    if size > _MOST_EXPANSION * stored:
        raise CheckpointError(
            f"{source}: damaged, or not a Keras file: {stored} bytes that expand to {size} bytes cannot be weights",
            damaged=True,
        )


def _layers(source: str, file: h5py.File, stored: int) -> dict[str, np.ndarray]:
    """Values by layer and weight, without the state of an optimizer and what is not numeric; `stored` bytes are in the file."""
    values, total = {}, 0

    def visit(path: str, node: h5py.Dataset | h5py.Group) -> None:
        nonlocal total
        if not isinstance(node, h5py.Dataset) or path.startswith("optimizer"):
            return
        if node.external or node.is_virtual:
            raise CheckpointError(f"{source}: {path} is stored in another file: save the weights in one file")
        if node.shape is None or node.dtype.kind not in _NUMBERS:
            return
        total += node.nbytes
        _check_expansion(source, total, stored)
        name = _layer_weight(source, path, node)
        # Nested models can repeat a name: the second one gets its full path, so that it is reported.
        values[path if name in values else name] = node[()]

    file.visititems(visit)
    return values


def _layer_weight(source: str, path: str, dataset: h5py.Dataset) -> str:
    """Layer and weight of a dataset: parts of its path in Keras 2; in Keras 3, an attribute holds the name of the layer."""
    match = _KERAS_3.search(path)
    if not match:
        return "/".join(path.split("/")[-2:]).removesuffix(":0")
    if "name" not in dataset.parent.attrs:
        raise CheckpointError(
            f"{source}: the layer of {path} has no name, as in the .keras and .weights.h5 files of tf_keras: "
            "save the weights as an .h5 file (model.save_weights('weights.h5')) or with Keras 3"
        )
    return f"{dataset.parent.attrs['name']}/{_WEIGHTS.get(match[1], ('kernel', 'bias'))[int(match[2])]}"

"""Reads weight files of other projects: safetensors, HDF5 and .keras archives."""

import io
import itertools
import re
import zipfile

import h5py
import numpy as np
import safetensors
import tensorflow as tf

from kmax_tf.checkpoints.errors import CheckpointError, readable

_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": tf.bfloat16.as_numpy_dtype}
_WEIGHTS_IN_ARCHIVE = "model.weights.h5"
_KERAS_3 = re.compile(
    r"layers/(?P<inner>sequential(?:_(?P<part>\d+))?/layers/)?"
    r"(?P<layer>conv2d|dense|layer_normalization|layer_scale)(?:_(?P<number>\d+))?/vars/(?P<weight>[01])"
)
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
                content = archive.read(_WEIGHTS_IN_ARCHIVE)
        with h5py.File(io.BytesIO(content), "r") as file:
            return _layers(file)


def _read(path: str) -> bytes:
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise CheckpointError(f"{path}: no such file")
    with readable(path, "weight file"), tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def _layers(file: h5py.File) -> dict[str, np.ndarray]:
    """Values by layer and weight, without the state of an optimizer."""
    datasets: dict[str, h5py.Dataset] = {}

    def visit(path: str, node: h5py.Dataset | h5py.Group) -> None:
        if isinstance(node, h5py.Dataset) and not path.startswith("optimizer"):
            datasets[path] = node

    file.visititems(visit)
    blocks = _block_names(datasets)
    values = {}
    for path, dataset in datasets.items():
        name = _layer_weight(path, dataset, blocks)
        # Nested models can repeat a name: the second one gets its full path, so that it is reported.
        values[path if name in values else name] = dataset[()]
    return values


def _layer_weight(path: str, dataset: h5py.Dataset, blocks: list[str]) -> str:
    """Layer and weight of a dataset, or its path if neither can be determined.

    In Keras 2 the path contains both. In Keras 3 it contains the class of the layer and its index within that class, and an
    attribute holds the layer name, except when tf_keras wrote the file.
    """
    match = _KERAS_3.fullmatch(path)
    if not match:
        return "/".join(path.split("/")[-2:]).removesuffix(":0")
    weight = _WEIGHTS.get(match["layer"], ("kernel", "bias"))[int(match["weight"])]
    name = dataset.parent.attrs.get("name") or _counted_layer(match, blocks)
    return f"{name}/{weight}" if name else path


def _counted_layer(match: re.Match[str], blocks: list[str]) -> str | None:
    """The name of a layer from its class and index.

    Keras counts along the graph, which is a chain of blocks in ConvNeXt: block k has convolution, norm and layer scale k, and
    dense layers 2k and 2k + 1; the stem and each downsampling layer are separate Sequentials.
    """
    if match["inner"]:
        part, kind = int(match["part"] or 0), {"conv2d": "conv", "layer_normalization": "layernorm"}.get(match["layer"])
        return kind and (f"downsampling_{kind}_{part - 1}" if part else f"stem_{kind}")
    number, half = int(match["number"] or 0), 0
    if match["layer"] == "dense":
        number, half = divmod(number, 2)
    if number < len(blocks):
        kinds = {"conv2d": "depthwise_conv", "dense": f"pointwise_conv_{half + 1}", "layer_normalization": "layernorm"}
        return f"{blocks[number]}_{kinds.get(match['layer'], match['layer'])}"
    heads = {"dense": "head_dense", "layer_normalization": "head_layernorm"}
    return heads.get(match["layer"]) if number == len(blocks) and not half else None


def _block_names(datasets: dict[str, h5py.Dataset]) -> list[str]:
    """Names like "stage_0_block_0", one per depthwise convolution; a stage is a run of blocks with equal channels."""
    kernels = {}
    for path, dataset in datasets.items():
        match = _KERAS_3.fullmatch(path)
        if match and not match["inner"] and match["layer"] == "conv2d" and match["weight"] == "0":
            kernels[int(match["number"] or 0)] = dataset.shape[-1]
    channels = [kernels[number] for number in sorted(kernels)]
    runs = [len(list(run)) for _, run in itertools.groupby(channels)]
    return [f"stage_{stage}_block_{block}" for stage, length in enumerate(runs) for block in range(length)]

"""Reads ConvNeXt encoders that other projects trained on ImageNet."""

import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras

from kmax_tf.checkpoints.assignment import ENCODER, StoredWeights
from kmax_tf.checkpoints.convnext_names import encoder_names, find_format
from kmax_tf.checkpoints.errors import CheckpointError
from kmax_tf.checkpoints.weight_files import read_keras, read_safetensors
from kmax_tf.pixel_encoders.convnext import VARIANTS, ConvNeXt

_PYTORCH = (".pth", ".pt", ".bin", ".pth.tar")
_KERAS = (".h5", ".hdf5", ".keras")
SUFFIXES = (*_PYTORCH, ".safetensors", *_KERAS)
_MEAN = np.array([0.485, 0.456, 0.406])
_STD = np.array([0.229, 0.224, 0.225])
_CONVERT = (
    'python -c "import torch, safetensors.torch as s; w = torch.load({0!r}, map_location={1!r}, weights_only=True); '
    "s.save_file({{k: v.clone() for k, v in w.get('model', w).items()}}, {2!r})\""
)
Size = tuple[tuple[int, ...], tuple[int, ...]]


def read_convnext(
    path: str, encoder: tf_keras.layers.Layer, variables: Mapping[str, tf.Variable], *, fold: bool
) -> StoredWeights:
    """Reads the weights of a ConvNeXt encoder from a file, without final norm and classifier.

    Args:
      path: .safetensors with the names of timm, Facebook or transformers, or weights of Keras Applications: .h5, .weights.h5
        or .keras.
      encoder: the model's encoder.
      variables: variables of the encoder by our names.
      fold: whether to adapt the kernel and bias of the stem to our input, image / 127.5 - 1. The weights were trained on
        (image / 255 - mean) / std with the mean and standard deviation of ImageNet (except those of CLIP, which need False).
        The zeros that our stem pads with are gray (127.5); the original networks do not pad, so they never saw them.

    Raises:
      CheckpointError: the file does not exist, is damaged, has another format, or holds another encoder.
    """
    if path.endswith(_PYTORCH):
        converted = re.sub(r"(\.pth)?\.\w+$", ".safetensors", path)
        command = _CONVERT.format(path, "cpu", converted)
        raise CheckpointError(f"{path}: opening a PyTorch file can run code; if you trust this file, convert it:\n  {command}")
    tensors = read_keras(path) if path.endswith(_KERAS) else read_safetensors(path)
    if not isinstance(encoder, ConvNeXt):
        raise CheckpointError(
            f"{path}: this file type is for ConvNeXt, but the encoder is {type(encoder).__name__}: use a TensorFlow checkpoint"
        )
    keys, values = _translate(path, tensors)
    _check_size(path, {name: values[key].shape for name, key in keys.items()}, variables)
    hint = ""
    if any("grn" in key for key in values.keys() - keys.values()):
        hint = "Global response normalization (grn) belongs to ConvNeXt V2, which is not supported."
    if fold:
        values = values | _folded_stem(keys, values)
    return StoredWeights(path, {key: value.shape for key, value in values.items()}, keys, values.__getitem__, hint)


def _translate(path: str, tensors: Mapping[str, np.ndarray]) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Names in the file by our names, and its tensors in our layout; tensors that are not of a ConvNeXt keep theirs."""
    found = find_format(tensors)
    if not found:
        some = ", ".join(sorted(tensors)[:3]) or "no tensors"
        raise CheckpointError(
            f"{path}: holds no ConvNeXt with the names of timm, Facebook, transformers or Keras Applications, but {some}. "
            "timm names its files model.safetensors, Keras for example convnext_tiny_notop.h5"
        )
    form, prefix = found
    names, unexpected = encoder_names(form, prefix, tensors)
    values = {key: form.layout(name, tensors[key]).astype(np.float32) for name, key in names.items()}
    return {ENCODER + name: key for name, key in names.items()}, values | {key: tensors[key] for key in unexpected}


def _check_size(path: str, shapes: Mapping[str, tuple[int, ...]], variables: Mapping[str, tf.Variable]) -> None:
    theirs, ours = _size(shapes), _size({name: tuple(variable.shape) for name, variable in variables.items()})
    if theirs and ours and theirs != ours:
        raise CheckpointError(f"{path}: holds {_describe(theirs)}; the config needs {_describe(ours)}")


def _size(shapes: Mapping[str, tuple[int, ...]]) -> Size | None:
    """Numbers of blocks and channels of each stage; None if a weight that determines them is missing."""
    depths, widths = [], []
    for stage in range(4):
        place = f"{ENCODER}stages/{stage}/"
        bias = shapes.get(f"{place}0/depthwise/bias")
        if not bias:
            return None
        widths.append(bias[0])
        depths.append(len({name.removeprefix(place).split("/")[0] for name in shapes if name.startswith(place)}))
    return tuple(depths), tuple(widths)


def _describe(size: Size) -> str:
    depths, widths = size
    names = [f"kmax_convnext_{name}" for name, variant in VARIANTS.items() if (variant.depths, variant.channels) == size]
    return f"ConvNeXt depths {depths}, widths {widths}: {names[0] if names else 'not one of the supported encoders'}"


def _folded_stem(keys: Mapping[str, str], values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kernel and bias of the stem, by their names in the file, adapted to our input.

    Their result on x = image / 127.5 - 1 equals that of the original stem on (image / 255 - mean) / std, because the latter is
    x / (2 std) + (0.5 - mean) / std.
    """
    places = [keys.get(f"{ENCODER}downsamples/0/conv/{weight}") for weight in ("kernel", "bias")]
    if None in places:
        return {}
    kernel, bias = (values[key].astype(np.float64) for key in places)
    if kernel.shape[2:3] != _STD.shape:  # a different shape, which is reported later
        return {}
    shift = (0.5 - _MEAN) / _STD
    folded = kernel / (2 * _STD)[:, None], bias + np.einsum("hwio,i->o", kernel, shift)
    return {key: value.astype(np.float32) for key, value in zip(places, folded)}

"""ConvNeXt encoders trained on ImageNet by other projects."""

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
    """The weights of a file for the variables of a ConvNeXt encoder; final norm and classifier are left out.

    Args:
      path: .safetensors with the names of timm, Facebook or transformers, or weights of Keras Applications: .h5, .weights.h5
        or .keras.
      encoder: of the model.
      variables: of the encoder, by our names.
      fold: whether the stem is adapted to our input. The weights were trained on (image / 255 - mean) / std with the mean and
        deviation of ImageNet (those of CLIP were not, and need False), our encoder gets image / 127.5 - 1: kernel and bias
        of the stem take over the difference. The zeros that our stem pads with are gray (127.5), which those networks never
        saw, as they do not pad.

    Raises:
      CheckpointError: no file there, it is damaged, in another format, or of another encoder.
    """
    if path.endswith(_PYTORCH):
        converted = re.sub(r"(\.pth)?\.\w+$", ".safetensors", path)
        command = _CONVERT.format(path, "cpu", converted)
        raise CheckpointError(f"{path}: files of PyTorch may run code when opened; convert it where you trust it:\n  {command}")
    tensors = read_keras(path) if path.endswith(_KERAS) else read_safetensors(path)
    if not isinstance(encoder, ConvNeXt):
        raise CheckpointError(
            f"{path}: such files are for ConvNeXt, the encoder is {type(encoder).__name__}: use a TensorFlow checkpoint"
        )
    keys, values = _translate(path, tensors)
    _check_size(path, {name: values[key].shape for name, key in keys.items()}, variables)
    hint = ""
    if any("grn" in key for key in values.keys() - keys.values()):
        hint = "Global response normalization (grn) belongs to ConvNeXt V2, which is another network."
    if fold:
        values = values | _folded_stem(keys, values)
    return StoredWeights(path, {key: value.shape for key, value in values.items()}, keys, values.__getitem__, hint)


def _translate(path: str, tensors: Mapping[str, np.ndarray]) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The file's names by ours, and its tensors in our layout; what belongs to no ConvNeXt keeps its layout."""
    found = find_format(tensors)
    if not found:
        some = ", ".join(sorted(tensors)[:3]) or "none at all"
        raise CheckpointError(
            f"{path}: holds no ConvNeXt with the names of timm, Facebook, transformers or Keras Applications, but {some}. "
            "timm's files are named model.safetensors, those of Keras e.g. convnext_tiny_notop.h5"
        )
    form, prefix = found
    names, unexpected = encoder_names(form, prefix, tensors)
    values = {key: form.layout(name, tensors[key]).astype(np.float32) for name, key in names.items()}
    return {ENCODER + name: key for name, key in names.items()}, values | {key: tensors[key] for key in unexpected}


def _check_size(path: str, shapes: Mapping[str, tuple[int, ...]], variables: Mapping[str, tf.Variable]) -> None:
    theirs, ours = _size(shapes), _size({name: tuple(variable.shape) for name, variable in variables.items()})
    if theirs and ours and theirs != ours:
        raise CheckpointError(f"{path}: holds {_describe(theirs)}; the config has {_describe(ours)}")


def _size(shapes: Mapping[str, tuple[int, ...]]) -> Size | None:
    """Blocks and channels of each stage; None if the weights that tell it are missing."""
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
    return f"ConvNeXt depths {depths}, widths {widths}: {names[0] if names else 'none of the encoders here'}"


def _folded_stem(keys: Mapping[str, str], values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kernel and bias of the stem, by their names in the file, adapted to our input.

    They do to image / 127.5 - 1 what the stem does to (image / 255 - mean) / std. With x = image / 127.5 - 1 the latter is
    x / (2 std) + (0.5 - mean) / std.
    """
    places = [keys.get(f"{ENCODER}downsamples/0/conv/{weight}") for weight in ("kernel", "bias")]
    if None in places:
        return {}
    kernel, bias = (values[key].astype(np.float64) for key in places)
    if kernel.shape[2:3] != _STD.shape:  # another shape, which is reported
        return {}
    shift = (0.5 - _MEAN) / _STD
    folded = kernel / (2 * _STD)[:, None], bias + np.einsum("hwio,i->o", kernel, shift)
    return {key: value.astype(np.float32) for key, value in zip(places, folded)}

"""Starting the encoder from weights that were trained on ImageNet, by this project's relatives or by others."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from kmax_tf.checkpoint import CheckpointError, LoadReport, load_encoder, resolve_checkpoint
from kmax_tf.files.tensorflow_paths import literal_path
from kmax_tf.imagenet.files import read_keras, read_safetensors, readable
from kmax_tf.imagenet.names import encoder_names, find_format, from_tensorflow
from kmax_tf.pixel_encoders.convnext import VARIANTS, ConvNeXt
from kmax_tf.variable_names import deeplab2_names, named_variables

_OURS = "pixel_encoder/"
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_MEAN = np.array([0.485, 0.456, 0.406])
_STD = np.array([0.229, 0.224, 0.225])
_PYTORCH = (".pth", ".pt", ".bin", ".pth.tar")
_CONVERT = (
    'python -c "import torch, safetensors.torch as s; w = torch.load({0!r}, map_location={1!r}, weights_only=True); '
    "s.save_file({{k: v.clone() for k, v in w.get('model', w).items()}}, {2!r})\""
)


@dataclasses.dataclass(frozen=True)
class _Weights:
    """What a file holds of an encoder: `values` by our names, `keys` the file's names of them, `unexpected` the rest."""

    values: dict[str, np.ndarray]
    keys: dict[str, str]
    unexpected: list[str]


def load_pretrained_encoder(model: tf_keras.Model, path: str, *, fold_input_normalization: bool = True) -> LoadReport:
    """Assigns every variable of a built model's encoder from a file of weights; final norm and classifier are left out.

    Args:
      model: from `build_model`.
      path: a TensorFlow checkpoint (prefix, or directory whose latest one is taken) of DeepLab2 or of this project; for
        ConvNeXt also .safetensors with the names of timm, Facebook or transformers, and weights of Keras Applications: .h5,
        .weights.h5 or .keras.
      fold_input_normalization: whether weights of timm, Facebook and Keras are adapted to our input. They were trained on
        (image / 255 - mean) / std with the mean and deviation of ImageNet (those of CLIP were not, and need False), our encoder
        gets image / 127.5 - 1: the stem's
        kernel and bias take over the difference. The zeros that our stem pads with are grey (127.5), which those networks
        never saw, as they do not pad. Checkpoints are taken as they are in any case.

    Raises:
      CheckpointError: no file there, it is damaged, in another format, of another encoder, or a variable of either side has
        no counterpart of the same shape. Nothing has been assigned then.
    """
    path = str(path)
    if path.endswith(_PYTORCH):
        converted = re.sub(r"(\.pth)?\.\w+$", ".safetensors", path)
        command = _CONVERT.format(path, "cpu", converted)
        raise CheckpointError(f"{path}: files of PyTorch may run code when opened; convert it where you trust it:\n  {command}")
    if path.endswith(".safetensors"):
        reader = read_safetensors
    elif path.endswith((".h5", ".hdf5", ".keras")):
        reader = read_keras
    else:
        return _load_checkpoint(model, path)
    if not isinstance(model.pixel_encoder, ConvNeXt):
        encoder = type(model.pixel_encoder).__name__
        raise CheckpointError(f"{path}: such files are for ConvNeXt, the encoder is {encoder}: use a TensorFlow checkpoint")
    weights = _translate(path, reader(path))
    _check_size(path, weights, model)
    return _assign(model, path, weights, fold=fold_input_normalization)


def _load_checkpoint(model: tf_keras.Model, path: str) -> LoadReport:
    """Loads an encoder's checkpoint, also one whose root is the encoder, so that no name begins with encoder/."""
    prefix = resolve_checkpoint(path)
    names = [name for name in named_variables(model) if name.startswith(_OURS)]
    keys = {name: key.removeprefix("encoder/") for name, key in deeplab2_names(names).items()}
    rooms = tuple({key.split("/")[0] + "/" for key in keys.values()})
    with readable(prefix, "checkpoint"):
        reader = tf.train.load_checkpoint(literal_path(prefix))
        stored = [key.removesuffix(_SUFFIX) for key in reader.get_variable_to_shape_map() if ".OPTIMIZER_SLOT" not in key]
        stored = [key for key in stored if key.startswith(rooms)]
        found = {name: key for name, key in keys.items() if key in stored}
        values = {name: from_tensorflow(name, reader.get_tensor(key + _SUFFIX)) for name, key in found.items()}
    if not stored:
        return load_encoder(model, path)
    weights = _Weights(values, found, sorted(set(stored) - set(keys.values())))
    return _assign(model, prefix, weights, fold=False)


def _translate(path: str, tensors: Mapping[str, np.ndarray]) -> _Weights:
    """The tensors under our names and in our layout."""
    found = find_format(tensors)
    if not found:
        some = ", ".join(sorted(tensors)[:3]) or "none at all"
        raise CheckpointError(
            f"{path}: holds no ConvNeXt with the names of timm, Facebook, transformers or Keras Applications, but {some}. "
            "timm's files are named model.safetensors, those of Keras e.g. convnext_tiny_notop.h5"
        )
    form, prefix = found
    names, unexpected = encoder_names(form, prefix, tensors)
    values = {_OURS + name: form.layout(name, tensors[key]) for name, key in names.items()}
    return _Weights(values, {_OURS + name: key for name, key in names.items()}, unexpected)


Size = tuple[tuple[int, ...], tuple[int, ...]]


def _check_size(path: str, weights: _Weights, model: tf_keras.Model) -> None:
    theirs = _size({name: value.shape for name, value in weights.values.items()})
    ours = _size({name: tuple(variable.shape) for name, variable in named_variables(model).items()})
    if theirs and ours and theirs != ours:
        raise CheckpointError(f"{path}: holds {_describe(theirs)}; the config has {_describe(ours)}")


def _size(shapes: Mapping[str, tuple[int, ...]]) -> Size | None:
    """Blocks and channels of each stage; None if weights are lacking that tell it."""
    depths, widths = [], []
    for stage in range(4):
        place = f"{_OURS}stages/{stage}/"
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


def _assign(model: tf_keras.Model, path: str, weights: _Weights, *, fold: bool) -> LoadReport:
    """Assigns all variables of the encoder, or none."""
    variables = {name: variable for name, variable in named_variables(model).items() if name.startswith(_OURS)}
    values = weights.values
    missing = [name for name in variables if name not in values]
    unexpected = weights.unexpected + [weights.keys[name] for name in values if name not in variables]
    mismatched = [
        f"{name} {tuple(variable.shape)} (made of {weights.keys[name]}, which gives {values[name].shape})"
        for name, variable in variables.items()
        if name in values and values[name].shape != tuple(variable.shape)
    ]
    if missing or unexpected or mismatched:
        raise CheckpointError(_explain(path, missing, unexpected, mismatched))
    if fold:
        values = values | _folded_stem(values)
    for name, variable in variables.items():
        variable.assign(values[name].astype(np.float32))
    return LoadReport(tuple(variables), (), (), ())


def _folded_stem(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kernel and bias that do to image / 127.5 - 1 what the stem does to (image / 255 - mean) / std.

    With x = image / 127.5 - 1 the latter is x / (2 std) + (0.5 - mean) / std.
    """
    stem = f"{_OURS}downsamples/0/conv"
    kernel, bias = (values[f"{stem}/{weight}"].astype(np.float64) for weight in ("kernel", "bias"))
    shift = (0.5 - _MEAN) / _STD
    return {f"{stem}/kernel": kernel / (2 * _STD)[:, None], f"{stem}/bias": bias + np.einsum("hwio,i->o", kernel, shift)}


def _explain(path: str, missing: Sequence[str], unexpected: Sequence[str], mismatched: Sequence[str]) -> str:
    lines = [f"{path}: the weights do not fit the encoder."]
    for title, names in (("not in the file", missing), ("not in the encoder", unexpected), ("another shape", mismatched)):
        if names:
            rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
            lines.append(f"  {title} ({len(names)}): {', '.join(names[:4])}{rest}")
    if any("grn" in name for name in unexpected):
        lines.append("  Global response normalization (grn) belongs to ConvNeXt V2, which is another network.")
    return "\n".join(lines)

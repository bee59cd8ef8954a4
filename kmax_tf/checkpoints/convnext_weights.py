"""Reads ConvNeXt encoders that other projects trained on ImageNet: their files, names and layouts."""

import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras

from kmax_tf.checkpoints.assignment import ENCODER, StoredWeights
from kmax_tf.checkpoints.deeplab2_names import Rule
from kmax_tf.checkpoints.errors import CheckpointError
from kmax_tf.checkpoints.weight_files import read_keras, read_safetensors
from kmax_tf.pixel_encoders.convnext import VARIANTS, ConvNeXt, Variant

_PYTORCH_SUFFIXES = (".pth", ".pt", ".bin", ".pth.tar")
_KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")
SUFFIXES = (*_PYTORCH_SUFFIXES, ".safetensors", *_KERAS_SUFFIXES)
_MEAN = np.array([0.485, 0.456, 0.406])
_STD = np.array([0.229, 0.224, 0.225])
_CONVERT = (
    'python -c "import torch, safetensors.torch as s; w = torch.load({0!r}, map_location={1!r}, weights_only=True); '
    "s.save_file({{k: v.clone() for k, v in w.get('model', w).items()}}, {2!r})\""
)

# Variable names of the encoder, as in `named_variables` but without "pixel_encoder/".
_ENCODER = re.compile(
    r"downsamples/[0-3]/(conv/(kernel|bias)|norm/(gamma|beta))"
    r"|stages/[0-3]/\d+/(depthwise/(depthwise_kernel|bias)|norm/(gamma|beta)|(expand|project)/(kernel|bias)|layer_scale)"
)

# Names of timm, of Facebook's release, and of the transformers library, which Facebook's files on the Hub use. In the stem the
# convolution comes before the norm; elsewhere the norm comes first.
_PYTORCH: list[Rule] = [
    (r"^encoder\.", ""),
    (r"^(stem\.0|embeddings\.patch_embeddings)\.", "downsample_layers.0.0."),
    (r"^(stem\.1|embeddings\.layernorm)\.", "downsample_layers.0.1."),
    (r"^stages\.(\d)\.(downsample|downsampling_layer)\.", r"downsample_layers.\1."),
    (r"^downsample_layers\.(0\.0|([1-3])\.1)\.", lambda m: f"downsamples/{m[2] or 0}/conv/"),
    (r"^downsample_layers\.(0\.1|([1-3])\.0)\.", lambda m: f"downsamples/{m[2] or 0}/norm/"),
    (r"^stages\.(\d)\.(?:blocks\.|layers\.)?(\d+)\.", r"stages/\1/\2/"),
    (r"/(conv_dw|dwconv)\.", "/depthwise/"),
    (r"/(mlp\.fc1|pwconv1)\.", "/expand/"),
    (r"/(mlp\.fc2|pwconv2)\.", "/project/"),
    (r"/(norm|layernorm)\.", "/norm/"),
    (r"/norm/weight$", "/norm/gamma"),
    (r"/norm/bias$", "/norm/beta"),
    (r"/depthwise/weight$", "/depthwise/depthwise_kernel"),
    (r"/(conv|expand|project)/weight$", r"/\1/kernel"),
    (r"/(gamma|layer_scale_parameter)$(?<!norm/gamma)", "/layer_scale"),
]
# Layer and weight, without the model's name that prefixes each layer. The weight of the layer scale has a name in Keras 2 and
# a running number in Keras 3, so it is not matched.
_KERAS: list[Rule] = [
    (r"^stem_conv/", "downsamples/0/conv/"),
    (r"^stem_layernorm/", "downsamples/0/norm/"),
    (r"^downsampling_conv_(\d)/", lambda m: f"downsamples/{int(m[1]) + 1}/conv/"),
    (r"^downsampling_layernorm_(\d)/", lambda m: f"downsamples/{int(m[1]) + 1}/norm/"),
    (r"^stage_(\d)_block_(\d+)_layer_scale/.*", r"stages/\1/\2/layer_scale"),
    (r"^stage_(\d)_block_(\d+)_", r"stages/\1/\2/"),
    (r"/depthwise_conv/kernel$", "/depthwise/depthwise_kernel"),
    (r"/depthwise_conv/", "/depthwise/"),
    (r"/layernorm/", "/norm/"),
    (r"/pointwise_conv_1/", "/expand/"),
    (r"/pointwise_conv_2/", "/project/"),
]
# Pattern of the depthwise kernels' names, whose group 1 is the prefix of all names in the file; substitutions that give our
# names, applied in order; pattern of the names to ignore: final norm and classifier.
_FORMATS = (
    (
        r"(.*?)(?:encoder\.)?stages\.\d\.(?:blocks\.|layers\.)?\d+\.(?:conv_dw|dwconv)\.weight",
        _PYTORCH,
        r"(encoder\.)?(norm_pre\.|head\.(norm|fc|pre_logits\.fc)\.|(norm|layernorm|head|classifier)\.(weight|bias)$)",
    ),
    (
        r"(.*?)stage_\d_block_\d+_depthwise_conv/kernel",
        _KERAS,
        r"head_(layernorm|dense)/|layer_normalization(_\d+)?/",
    ),
)


def read_convnext(
    path: str, encoder: tf_keras.layers.Layer, variables: Mapping[str, tf.Variable], *, fold: bool
) -> StoredWeights:
    """Reads the weights of a ConvNeXt encoder from a file, without final norm and classifier.

    Args:
      path: .safetensors with the names of timm, Facebook or transformers, or weights of Keras Applications: .h5, or from
        Keras 3 .weights.h5 or .keras.
      encoder: the model's encoder.
      variables: variables of the encoder by our names.
      fold: whether to adapt the kernel and bias of the stem to our input, image / 127.5 - 1. The weights were trained on
        (image / 255 - mean) / std with the mean and standard deviation of ImageNet (except those of CLIP, which need False).
        The zeros that our stem pads with are gray (127.5); the original networks do not pad, so they never saw them.

    Raises:
      CheckpointError: the file does not exist, is damaged, has another format, or holds another encoder.
    """
    if path.endswith(_PYTORCH_SUFFIXES):
        converted = re.sub(r"(\.pth)?\.\w+$", ".safetensors", path)
        command = _CONVERT.format(path, "cpu", converted)
        raise CheckpointError(f"{path}: opening a PyTorch file can run code; if you trust this file, convert it:\n  {command}")
    tensors = read_keras(path) if path.endswith(_KERAS_SUFFIXES) else read_safetensors(path)
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
    found = [([m[1] for key in tensors if (m := re.fullmatch(mark, key))], *rest) for mark, *rest in _FORMATS]
    prefixes, rules, left_out = max(found, key=lambda entry: len(entry[0]))
    if not prefixes:
        some = ", ".join(sorted(tensors)[:3]) or "no tensors"
        raise CheckpointError(
            f"{path}: holds no ConvNeXt with the names of timm, Facebook, transformers or Keras Applications, but {some}. "
            "timm names its files model.safetensors, Keras for example convnext_tiny_notop.h5"
        )
    names, values = {}, {}
    for key, value in tensors.items():
        bare = name = key.removeprefix(min(prefixes, key=len))
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if _ENCODER.fullmatch(name) and ENCODER + name not in names:
            names[ENCODER + name] = key
            values[key] = (_from_pytorch(name, value) if rules is _PYTORCH else value).astype(np.float32)
        elif not re.match(left_out, bare):
            values[key] = value
    return names, values


def _from_pytorch(name: str, value: np.ndarray) -> np.ndarray:
    """[out,in,h,w] -> [h,w,in,out], [out,in] or a 1x1 convolution -> [in,out], depthwise [C,1,h,w] -> [h,w,C,1]."""
    if name.endswith(("expand/kernel", "project/kernel")) and value.shape[2:] == (1, 1):
        value = value[:, :, 0, 0]
    if name.endswith("depthwise_kernel") and value.ndim == 4:
        return value.transpose(2, 3, 0, 1)
    return value.transpose(*range(2, value.ndim), 1, 0) if name.endswith("kernel") and value.ndim >= 2 else value


def _check_size(path: str, shapes: Mapping[str, tuple[int, ...]], variables: Mapping[str, tf.Variable]) -> None:
    theirs, ours = _size(shapes), _size({name: tuple(variable.shape) for name, variable in variables.items()})
    if theirs and ours and theirs != ours:
        raise CheckpointError(f"{path}: holds {_describe(theirs)}; the config needs {_describe(ours)}")


def _size(shapes: Mapping[str, tuple[int, ...]]) -> Variant | None:
    """Numbers of blocks and channels of each stage; None if a weight that determines them is missing."""
    depths, widths = [], []
    for stage in range(4):
        place = f"{ENCODER}stages/{stage}/"
        bias = shapes.get(f"{place}0/depthwise/bias")
        if not bias:
            return None
        widths.append(bias[0])
        depths.append(len({name.removeprefix(place).split("/")[0] for name in shapes if name.startswith(place)}))
    return Variant(tuple(depths), tuple(widths))


def _describe(size: Variant) -> str:
    names = [f"kmax_convnext_{name}" for name, variant in VARIANTS.items() if variant == size]
    name = names[0] if names else "not one of the supported encoders"
    return f"ConvNeXt depths {size.depths}, widths {size.channels}: {name}"


def _folded_stem(keys: Mapping[str, str], values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kernel and bias of the stem, by their names in the file, adapted to our input.

    Their result on x = image / 127.5 - 1 equals that of the original stem on (image / 255 - mean) / std, because the latter is
    x / (2 std) + (0.5 - mean) / std.
    """
    places = [keys.get(f"{ENCODER}downsamples/0/conv/{weight}") for weight in ("kernel", "bias")]
    if None in places:
        return {}
    kernel, bias = (values[key].astype(np.float64) for key in places)
    if kernel.shape[2:] != (*_STD.shape, *bias.shape) or bias.ndim != 1:  # a different shape, which is reported later
        return {}
    shift = (0.5 - _MEAN) / _STD
    folded = kernel / (2 * _STD)[:, None], bias + np.einsum("hwio,i->o", kernel, shift)
    return {key: value.astype(np.float32) for key, value in zip(places, folded)}

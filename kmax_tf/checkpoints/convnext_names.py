"""Names and layouts of ConvNeXt weights in the files of timm, Facebook, transformers and Keras Applications."""

import dataclasses
import re
from collections.abc import Callable, Collection

import numpy as np

from kmax_tf.checkpoints.deeplab2_names import Rule

# Variable names of the encoder, as in `named_variables` but without "pixel_encoder/".
_ENCODER = re.compile(
    r"downsamples/[0-3]/(conv/(kernel|bias)|norm/(gamma|beta))"
    r"|stages/[0-3]/\d+/(depthwise/(depthwise_kernel|bias)|norm/(gamma|beta)|(expand|project)/(kernel|bias)|layer_scale)"
)

# In the stem the convolution comes before the norm; elsewhere the norm comes first.
_TIMM: list[Rule] = [
    (r"^stem\.0\.", "downsamples/0/conv/"),
    (r"^stem\.1\.", "downsamples/0/norm/"),
    (r"^stages\.([1-3])\.downsample\.0\.", r"downsamples/\1/norm/"),
    (r"^stages\.([1-3])\.downsample\.1\.", r"downsamples/\1/conv/"),
    (r"^stages\.(\d)\.blocks\.(\d+)\.", r"stages/\1/\2/"),
    (r"/conv_dw\.", "/depthwise/"),
    (r"/mlp\.fc1\.", "/expand/"),
    (r"/mlp\.fc2\.", "/project/"),
]
_FACEBOOK: list[Rule] = [
    (r"^downsample_layers\.0\.0\.", "downsamples/0/conv/"),
    (r"^downsample_layers\.0\.1\.", "downsamples/0/norm/"),
    (r"^downsample_layers\.([1-3])\.0\.", r"downsamples/\1/norm/"),
    (r"^downsample_layers\.([1-3])\.1\.", r"downsamples/\1/conv/"),
    (r"^stages\.(\d)\.(\d+)\.", r"stages/\1/\2/"),
    (r"/dwconv\.", "/depthwise/"),
    (r"/pwconv1\.", "/expand/"),
    (r"/pwconv2\.", "/project/"),
]
# The transformers library; Facebook's files on the Hub use these names.
_TRANSFORMERS: list[Rule] = [
    (r"^embeddings\.patch_embeddings\.", "downsamples/0/conv/"),
    (r"^embeddings\.layernorm\.", "downsamples/0/norm/"),
    (r"^encoder\.stages\.([1-3])\.downsampling_layer\.0\.", r"downsamples/\1/norm/"),
    (r"^encoder\.stages\.([1-3])\.downsampling_layer\.1\.", r"downsamples/\1/conv/"),
    (r"^encoder\.stages\.(\d)\.layers\.(\d+)\.", r"stages/\1/\2/"),
    (r"/dwconv\.", "/depthwise/"),
    (r"/layernorm\.", "/norm/"),
    (r"/pwconv1\.", "/expand/"),
    (r"/pwconv2\.", "/project/"),
    (r"/layer_scale_parameter$", "/layer_scale"),
]
_PYTORCH: list[Rule] = [
    (r"/norm\.", "/norm/"),
    (r"/norm/weight$", "/norm/gamma"),
    (r"/norm/bias$", "/norm/beta"),
    (r"/depthwise/weight$", "/depthwise/depthwise_kernel"),
    (r"/(conv|expand|project)/weight$", r"/\1/kernel"),
    (r"/gamma$(?<!norm/gamma)", "/layer_scale"),
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


def _from_pytorch(name: str, value: np.ndarray) -> np.ndarray:
    """[out,in,h,w] -> [h,w,in,out], [out,in] or a 1x1 convolution -> [in,out], depthwise [C,1,h,w] -> [h,w,C,1]."""
    if name.endswith(("expand/kernel", "project/kernel")) and value.shape[2:] == (1, 1):
        value = value[:, :, 0, 0]
    if name.endswith("depthwise_kernel") and value.ndim == 4:
        return value.transpose(2, 3, 0, 1)
    return value.transpose(*range(2, value.ndim), 1, 0) if name.endswith("kernel") and value.ndim >= 2 else value


def _from_tensorflow(name: str, value: np.ndarray) -> np.ndarray:
    """Returns the value unchanged: assignment.py handles the layouts of TensorFlow."""
    del name
    return value


@dataclasses.dataclass(frozen=True)
class Format:
    """How one library stores the weights of a ConvNeXt.

    Attributes:
      mark: pattern of the depthwise kernels' names; its group 1 is the prefix of all names in the file.
      rules: substitutions that give our name, applied in order.
      left_out: pattern of the names to ignore: final norm and classifier.
      layout: converts a value, given our name, to our layout.
    """

    mark: re.Pattern[str]
    rules: list[Rule]
    left_out: re.Pattern[str]
    layout: Callable[[str, np.ndarray], np.ndarray]


FORMATS = (
    Format(
        mark=re.compile(r"(.*?)stages\.\d\.blocks\.\d+\.conv_dw\.weight"),
        rules=_TIMM + _PYTORCH,
        left_out=re.compile(r"norm_pre\.|head\.(norm|fc|pre_logits\.fc)\."),
        layout=_from_pytorch,
    ),
    Format(
        mark=re.compile(r"(.*?)stages\.\d\.\d+\.dwconv\.weight"),
        rules=_FACEBOOK + _PYTORCH,
        left_out=re.compile(r"(norm|head)\.(weight|bias)$"),
        layout=_from_pytorch,
    ),
    Format(
        mark=re.compile(r"(.*?)encoder\.stages\.\d\.layers\.\d+\.dwconv\.weight"),
        rules=_TRANSFORMERS + _PYTORCH,
        left_out=re.compile(r"(layernorm|classifier)\.(weight|bias)$"),
        layout=_from_pytorch,
    ),
    Format(
        mark=re.compile(r"(.*?)stage_\d_block_\d+_depthwise_conv/kernel"),
        rules=_KERAS,
        left_out=re.compile(r"head_(layernorm|dense)/|layer_normalization(_\d+)?/"),
        layout=_from_tensorflow,
    ),
)


def find_format(keys: Collection[str]) -> tuple[Format, str] | None:
    """The format of a file with these names and their common prefix; None if the format is unknown."""
    for form in FORMATS:
        prefixes = [match[1] for key in keys if (match := form.mark.fullmatch(key))]
        if prefixes:
            return form, min(prefixes, key=len)
    return None


def encoder_names(form: Format, prefix: str, keys: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """{our name without "pixel_encoder/": name in the file}, and the names in the file that are not weights of a ConvNeXt."""
    names, unexpected = {}, []
    for key in keys:
        bare = name = key.removeprefix(prefix)
        for pattern, replacement in form.rules:
            name = re.sub(pattern, replacement, name)
        if _ENCODER.fullmatch(name) and name not in names:
            names[name] = key
        elif not form.left_out.match(bare):
            unexpected.append(key)
    return names, unexpected

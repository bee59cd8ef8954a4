"""Small ConvNeXts of Keras Applications and timm, and functions that run them with the padding of our encoder."""

import keras
import numpy as np
import tensorflow as tf
from keras.src.applications import convnext as keras_convnext
from published_checkpoint import draw_weight
from published_values import arrays
from tf_keras.src.applications import convnext as tf_keras_convnext

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
# The classifier of Keras Applications requires a fixed size.
NO_TOP, TOP = {"include_top": False, "input_shape": (None, None, 3)}, {"include_top": True, "classes": 7}


def make_image(height: int = 65, width: int = 97) -> np.ndarray:
    """Noise of [1,height,width,3], uint8."""
    return np.random.default_rng(5).integers(0, 256, (1, height, width, 3), dtype=np.uint8)


def padded(image: np.ndarray) -> np.ndarray:
    """The image, 0..255, padded like in our stem, which pads with zeros after normalization, that is with gray."""
    return np.pad(image.astype(np.float32), [(0, 0), (1, 2), (1, 2), (0, 0)], constant_values=127.5)


def imagenet_input(image: np.ndarray) -> np.ndarray:
    """The input of the networks of PyTorch and their ports: unit range, minus the mean, divided by the deviation."""
    return (image / np.float32(255) - MEAN) / STD


def keras_features(model, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """stage1 to stage5 of a model of Keras Applications (Keras 2 or 3) for the padded input [1,H,W,3] of its stem."""
    layers = {layer.name.removeprefix(f"{model.name}_"): layer for layer in model.layers}
    features, x = {}, layers["stem"](pixels)
    for stage in range(4):
        if stage:
            x = layers[f"downsampling_block_{stage - 1}"](tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]]))
        features.setdefault("stage1", np.array(x))
        block = 0
        while f"stage_{stage}_block_{block}_depthwise_conv" in layers:
            y = x
            for part in ("depthwise_conv", "layernorm", "pointwise_conv_1", "gelu", "pointwise_conv_2", "layer_scale"):
                y = layers[f"stage_{stage}_block_{block}_{part}"](y)
            x, block = x + y, block + 1
        features[f"stage{stage + 2}"] = np.array(x)
    return features


def timm_features(model, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """stage1 to stage5 [1,h,w,C] of a ConvNeXt of timm for the padded input [1,H,W,3] of its stem."""
    import torch

    features = {}
    handles = [
        stage.downsample.register_forward_pre_hook(lambda _, inputs: torch.nn.functional.pad(inputs[0], (0, 1, 0, 1)))
        for stage in list(model.stages)[1:]
    ]
    with torch.inference_mode():
        x = model.eval().stem(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
        features["stage1"] = x.numpy().transpose(0, 2, 3, 1)
        for number, stage in enumerate(model.stages, 2):
            x = stage(x)
            features[f"stage{number}"] = x.numpy().transpose(0, 2, 3, 1)
    for handle in handles:
        handle.remove()
    return features


def facebook_names(keys: list[str]) -> list[str]:
    """The names in Facebook's release for those of timm, in the same order."""
    names = []
    for key in keys:
        parts = key.split(".")
        if parts[0] == "stem":
            parts[0] = "downsample_layers.0"
        elif parts[2:3] == ["downsample"]:
            parts = ["downsample_layers", parts[1], *parts[3:]]
        elif parts[2:3] == ["blocks"]:
            parts = ["stages", parts[1], *parts[3:]]
        elif parts[:2] in (["head", "norm"], ["head", "fc"]):
            parts = ["norm" if parts[1] == "norm" else "head", parts[2]]
        names.append(".".join(parts).replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv"))
    return names


def keras_convnext_atto(library, **options):
    """The network of Keras Applications with the size of kmax_convnext_atto, which is not public there."""
    size = {"depths": [2, 2, 6, 2], "projection_dims": [40, 80, 160, 320], "weights": None}
    if library is keras:
        model = keras_convnext.ConvNeXt(weights_name="convnext_atto", name="mine", **size, **options)
    else:
        model = tf_keras_convnext.ConvNeXt(model_name="mine", **size, **options)
    return randomized(model)


def randomized(model):
    """The model with weights moved away from their initial values, because the initial layer scale is nearly zero."""
    random = np.random.default_rng(3)
    model.set_weights([w + 0.1 * random.standard_normal(w.shape, np.float32) for w in model.get_weights()])
    return model


def timm_weights():
    """{timm's name: value}, the weights with which timm computed the golden features."""
    golden = arrays("timm_convnext")
    shapes = (tuple(map(int, shape.split(","))) for shape in golden["shapes"])
    return {key: draw_weight(key, shape) for key, shape in zip(golden["keys"].tolist(), shapes)}


def facebook_weights():
    """The same weights in the format of Facebook's release, with dense layers instead of 1x1 convolutions."""
    values = [value[:, :, 0, 0] if value.shape[2:] == (1, 1) else value for value in timm_weights().values()]
    return dict(zip(arrays("timm_convnext")["facebook_keys"].tolist(), values))


def transformers_weights():
    """The same weights with the names in the library transformers, which follow from its conversion of Facebook's files."""
    names = {}
    for key in facebook_weights():
        parts = key.split(".")
        if parts[0] == "downsample_layers":
            prefix = "embeddings" if parts[1] == "0" else f"encoder.stages.{parts[1]}.downsampling_layer"
            layer = {"0": "patch_embeddings", "1": "layernorm"}[parts[2]] if parts[1] == "0" else parts[2]
            names[key] = f"convnext.{prefix}.{layer}.{parts[3]}"
        elif parts[0] == "stages":
            rest = ".".join(parts[3:]).replace("norm", "layernorm").replace("gamma", "layer_scale_parameter")
            names[key] = f"convnext.encoder.stages.{parts[1]}.layers.{parts[2]}.{rest}"
        else:
            names[key] = key.replace("norm", "convnext.layernorm").replace("head", "classifier")
    return {names[key]: value for key, value in facebook_weights().items()}

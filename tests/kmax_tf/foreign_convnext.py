"""ConvNeXts of Keras Applications and timm, run as ours: their own layers with our padding in between."""

import numpy as np
import tensorflow as tf

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def make_image(height: int = 65, width: int = 97) -> np.ndarray:
    """Noise of [1,height,width,3], uint8."""
    return np.random.default_rng(5).integers(0, 256, (1, height, width, 3), dtype=np.uint8)


def padded(image: np.ndarray) -> np.ndarray:
    """The image as our stem pads it, whose zeros are grey, 0..255."""
    return np.pad(image.astype(np.float32), [(0, 0), (1, 2), (1, 2), (0, 0)], constant_values=127.5)


def imagenet_input(image: np.ndarray) -> np.ndarray:
    """What the networks of PyTorch and their ports were trained on: unit range, less the mean, by the deviation."""
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
    """The names that Facebook's release has for timm's, in the same order."""
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

"""Makes timm_convnext.npz with the timm that is installed: names, shapes, and features of drawn weights (see the README).

python tests/golden/make_timm_convnext.py
"""

import pathlib
import sys

import numpy as np
import timm
import torch
from timm.models.convnext import checkpoint_filter_fn

GOLDEN = pathlib.Path(__file__).parent
sys.path.insert(0, str(GOLDEN.parent / "helpers"))

from foreign_convnext import facebook_names, imagenet_input, make_image, padded, timm_features  # noqa: E402
from published_checkpoint import draw_weight  # noqa: E402


def main() -> None:
    """Writes the file; stops if timm does not read Facebook's names as ours have it."""
    model = timm.create_model("convnext_atto", num_classes=10)
    keys = list(model.state_dict())
    weights = {key: torch.from_numpy(draw_weight(key, value.shape)) for key, value in model.state_dict().items()}
    model.load_state_dict(weights)
    facebook = facebook_names(keys)
    # Facebook has dense layers where timm's small models have 1x1 convolutions.
    released = {name: weights[key].squeeze() if ".mlp." in key else weights[key] for name, key in zip(facebook, keys)}
    read = checkpoint_filter_fn(released, model)
    assert read.keys() == weights.keys() and all(torch.equal(read[key], weights[key]) for key in keys)
    arrays = {
        "keys": np.array(keys),
        "shapes": np.array([",".join(map(str, value.shape)) for value in weights.values()]),
        "facebook_keys": np.array(facebook),
    }
    for name, value in timm_features(model, imagenet_input(padded(make_image()))).items():
        arrays[name] = value[..., ::4]
    np.savez_compressed(GOLDEN / "timm_convnext.npz", **arrays)


if __name__ == "__main__":
    main()

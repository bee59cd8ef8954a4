"""The other encoders, and the five-stage pixel decoder of Cityscapes, against the published implementation in training mode.

The batch statistics make the moving ones irrelevant, so that few golden numbers suffice.
"""

import numpy as np
import pytest
import tensorflow as tf
from example_configs import published_config
from published_checkpoint import draw_weight, write_checkpoint
from published_values import arrays, checkpoint_keys, relative_error

from kmax_tf import build_loss, build_model, load_checkpoint
from kmax_tf.layers.dropping import Dropout
from kmax_tf.losses.assignment import assign
from kmax_tf.losses.ground_truth import prepare
from protos import descriptions

CASES = {
    "coco_axial_r50": ("coco", "kmax_axial_resnet50"),
    "coco_convnext_tiny": ("coco", "kmax_convnext_tiny"),
    "cityscapes_r50": ("cityscapes", "kmax_resnet50"),
}


def sample(name, value):
    """The part of an output that the golden file holds."""
    if name == "transformer_class_logits":
        return value[:, ::4]
    stride = 4 if value.shape[1] * value.shape[2] < 100 else 8 if value.shape[1] < 65 else 16
    return value[:, ::stride, ::stride, ::4]


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_losses(case, tmp_path, monkeypatch):
    dataset, backbone = CASES[case]
    golden = arrays("other_models", f"{case}/")
    # More samples than pixels: every pixel is used, as for the golden losses.
    config = published_config(dataset, backbone, ["model_options.max_deeplab.instance_discrimination_sample_k=10000"])
    model = build_model(config)
    variables = checkpoint_keys()[case]["variables"]
    write_checkpoint(str(tmp_path / "ckpt-1"), {key: draw_weight(key, shape) for key, shape in variables.items()})
    assert len(load_checkpoint(model, str(tmp_path)).loaded) == len(variables)

    monkeypatch.setattr(Dropout, "call", lambda self, x, training=False: x)
    outputs = model(tf.constant(arrays("coco_r50")["image"]), training=True)
    for name in [key.removeprefix("train/") for key in golden if key.startswith("train/")]:
        assert relative_error(sample(name, outputs[name].numpy()), golden[f"train/{name}"]) <= 1e-3, name

    terms = [key.removeprefix("loss/") for key in golden if key.startswith("loss/")]
    if not terms:  # The assignment of ConvNeXt is a near-tie there.
        return
    names = ("semantic", "thing_id_mask", "thing_id_class")
    targets = {f"{name}_gt": tf.constant(golden[f"gt/{name}"], tf.int32) for name in names}
    losses = build_loss(config)(targets, outputs)
    assert set(losses) == set(terms)
    for name in terms:
        np.testing.assert_allclose(losses[name].numpy(), golden[f"loss/{name}"], rtol=1e-3, err_msg=name)
    masks = outputs["pixel_space_mask_logits"]
    truth = prepare(targets, *masks.shape[1:3], descriptions.load(f"{dataset}_panoptic"))
    pixels = tf.reshape(masks, [masks.shape[0], -1, masks.shape[-1]])
    slots = assign(truth, pixels, outputs["transformer_class_logits"]).slot_of_row
    np.testing.assert_array_equal(slots, golden["match/slot"])

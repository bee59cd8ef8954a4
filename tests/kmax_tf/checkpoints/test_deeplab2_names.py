"""Our variables compared with object paths and shapes in checkpoints of the 15 published configs."""

import math
import pathlib
import re

import numpy as np
import pytest
from example_configs import published_config, small_config
from published_checkpoint import draw_weight, write_checkpoint
from published_values import checkpoint_keys

from kmax_tf import build_model, load_checkpoint, load_config
from kmax_tf.checkpoints.deeplab2_names import deeplab2_names
from kmax_tf.checkpoints.variable_names import named_variables

CONFIGS = pathlib.Path(__file__).parents[3] / "configs"
PUBLISHED = checkpoint_keys()
# The others take seconds each; the parity tests load all variables of a ConvNeXt, an axial and a plain ResNet among them.
FAST = ("ade20k_r50",)


def without_ones(shape):
    return tuple(size for size in shape if size != 1)


@pytest.mark.parametrize("case", [case if case in FAST else pytest.param(case, marks=pytest.mark.slow) for case in PUBLISHED])
def test_published_checkpoint_keys(case):
    dataset, _, encoder = case.removesuffix("_res1281").partition("_")
    encoder = encoder.replace("r50", "resnet50")
    model = build_model(published_config(dataset, f"kmax_{encoder}"))
    variables = named_variables(model)
    assert {id(variable) for variable in variables.values()} == {id(variable) for variable in model.variables}
    translated = deeplab2_names(list(variables))
    found = {translated[name]: without_ones(variable.shape) for name, variable in variables.items()}
    assert found == {key: without_ones(shape) for key, shape in PUBLISHED[case]["variables"].items()}
    trainable = sum(math.prod(variable.shape) for variable in variables.values() if variable.trainable)
    assert trainable == PUBLISHED[case]["trainable_params"]


def our_config(case):
    """configs/cityscapes/kmax_convnext_l.textproto for cityscapes_convnext_large."""
    dataset, _, encoder = case.removesuffix("_res1281").partition("_")
    name = re.sub("convnext_([tsbl]).*", r"convnext_\1", encoder.replace("axial_r50", "maxs"))
    size = {"ade20k": "_1281" if case.endswith("_res1281") else "_641"}.get(dataset, "")
    return CONFIGS / dataset / f"kmax_{name}{size}.textproto"


@pytest.mark.slow
@pytest.mark.parametrize("case", PUBLISHED)
def test_published_checkpoints_load_into_our_configs(case, tmp_path):
    """Loads files in DeepLab2's format that include optimizer state."""
    values = {key: draw_weight(key, shape) for key, shape in PUBLISHED[case]["variables"].items()}
    slots = {"optimizer": "predictor_of_something/kernel", "backbone_optimizer": next(iter(values))}
    state = {f"{key}/.OPTIMIZER_SLOT/{owner}/m": np.zeros([3], np.float32) for owner, key in slots.items()}
    state |= {f"{owner}/iter": np.int64(7) for owner in slots}
    write_checkpoint(str(tmp_path / "ckpt-7"), values | state)
    model = build_model(load_config(our_config(case)))
    report = load_checkpoint(model, tmp_path)
    variables = named_variables(model)
    assert set(report.loaded) == set(variables) and not (report.missing or report.unexpected or report.mismatched)
    for name, key in deeplab2_names(list(variables)).items():
        # Axes of size 1 can differ; the order of the values is the same.
        np.testing.assert_array_equal(variables[name].numpy().ravel(), values[key].ravel(), err_msg=name)


def test_decoders_are_numbered_in_the_order_of_the_model():
    config = small_config()
    config.model_options.max_deeplab.num_decoders[:] = [11, 1, 0]
    variables = named_variables(build_model(config))
    stages = [f"0/{number}" for number in range(11)] + ["1/0"]
    translated = deeplab2_names(list(variables))
    for number, stage in enumerate(stages):
        key = translated[f"kmax_decoder/stages/{stage}/ffn_hidden/dense/kernel"]
        assert key.startswith(f"transformer_decoder/_kmax_decoder/{number}/")


def test_names_are_paths_of_attributes():
    model = build_model(small_config())
    variables = named_variables(model)
    assert (
        variables["kmax_decoder/stages/0/0/ffn_hidden/dense/kernel"] is model.kmax_decoder.stages[0][0].ffn_hidden.dense.kernel
    )
    assert variables["kmax_decoder/cluster_centers"] is model.kmax_decoder.cluster_centers
    assert variables["pixel_encoder/stages/3/1/layer_scale"] is model.pixel_encoder.stages[3][1].layer_scale
    assert variables["predictor/mask_norm/moving_variance"] is model.predictor.mask_norm.moving_variance

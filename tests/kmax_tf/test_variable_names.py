"""Our variables against the object paths and shapes in checkpoints of the 15 published configs."""

import math

import pytest
from example_configs import published_config, small_config
from published_values import checkpoint_keys

from kmax_tf import build_model
from kmax_tf.variable_names import deeplab2_names, named_variables

PUBLISHED = checkpoint_keys()
# The others take seconds each; test_parity.py and test_parity_of_other_models.py load four of them.
FAST = ("ade20k_r50", "cityscapes_convnext_tiny", "coco_axial_r50")


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


def test_names_are_paths_of_attributes():
    model = build_model(small_config())
    variables = named_variables(model)
    assert (
        variables["kmax_decoder/stages/0/0/ffn_hidden/dense/kernel"] is model.kmax_decoder.stages[0][0].ffn_hidden.dense.kernel
    )
    assert variables["kmax_decoder/cluster_centers"] is model.kmax_decoder.cluster_centers
    assert variables["pixel_encoder/stages/3/1/layer_scale"] is model.pixel_encoder.stages[3][1].layer_scale
    assert variables["predictor/mask_norm/moving_variance"] is model.predictor.mask_norm.moving_variance

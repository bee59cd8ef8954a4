"""Parameters and multiply-adds of models, compared with published figures and the model's variables."""

import math

import pytest
import tf_keras
from example_configs import published_config, small_config

from kmax_tf import build_model
from kmax_tf.cost.model_cost import PARTS, CostError, model_cost
from kmax_tf.pixel_encoders import axial_resnet, resnet


@pytest.fixture(scope="module")
def small_model():
    return build_model(small_config())


def test_cost_of_resnet50_is_the_published_one():
    """56.58 M parameters and 172 G multiply-adds at 801x1201; the paper (table 1) reports 57 M and 168 G at about this size."""
    cost = model_cost(build_model(published_config("coco", "kmax_resnet50")), 801, 1201)
    assert cost.inference_parameters / 1e6 == pytest.approx(56.58, abs=0.005)
    assert cost.all_multiply_adds / 1e9 == pytest.approx(172.0, rel=0.001)
    assert cost.published_multiply_adds == cost.all_multiply_adds
    # By hand: ResNet-50's stem runs at half the size.
    stem = 401 * 601 * 64 * (7 * 7 * 3)
    assert stem < cost.multiply_adds["pixel_encoder"]["convolutions"] < 82e9


def test_parameters_are_the_trainable_variables(small_model):
    cost = model_cost(small_model, 65, 97)
    total = sum(math.prod(v.shape) for v in small_model.trainable_variables)
    semantic = sum(math.prod(v.shape) for v in small_model.semantic_branch.trainable_variables)
    assert tuple(cost.parameters) == PARTS
    assert sum(cost.parameters.values()) == total
    assert cost.inference_parameters == total - semantic < total


def test_cost_of_parts_is_the_sum_over_their_layers(small_model):
    """65x97 is 17x25 at stride 4 and 3x4 at stride 32; 8 slots, embeddings of 32, pixel features of 16 channels."""
    cost = model_cost(small_model, 65, 97).multiply_adds
    assert set(cost) == set(PARTS) - {"semantic_branch"}
    # Mask logits; separable 5x5 of 32 channels, the bottleneck's 4 * 8, and 1x1 from 32 to 16 to 16; mask and class heads.
    pixels, classes = 17 * 25, small_model.predictor.class_head.units
    assert cost["predictor"] == {
        "einsums": pixels * 8 * 16,
        "depthwise_convolutions": pixels * 32 * 25,
        "convolutions": pixels * (32 * 16 + 16 * 16),
        "matrix_products": 8 * 32 * 16 + 8 * 32 * classes,
    }
    # The one decoder: similarity and weighted sum of 8x8 centers, one-hot assignment, mask logits of 12 pixels.
    assert cost["kmax_decoder"]["einsums"] == 8 * 8 * 16 + 8 * 8 * 32 + 12 * 8 * 32 + 12 * 8 * 16
    # ConvNeXt-atto: 7x7 on 40, 80, 160 and 320 channels in 2, 2, 6 and 2 blocks at stride 4, 8, 16 and 32.
    places = (17 * 25, 9 * 13, 5 * 7, 3 * 4)
    assert cost["pixel_encoder"]["depthwise_convolutions"] == 49 * sum(
        blocks * channels * places for blocks, channels, places in zip((2, 2, 6, 2), (40, 80, 160, 320), places)
    )


class DepthwiseStem(tf_keras.layers.Layer):
    """An encoder after a depthwise convolution."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.activation = encoder, encoder.activation
        self.depthwise = tf_keras.layers.DepthwiseConv2D(5, padding="same", use_bias=False)

    def call(self, images, training=False):
        return self.encoder(self.depthwise(images), training=training)


@pytest.mark.parametrize("backbone", ["kmax_resnet50", "kmax_axial_resnet50"])
def test_depthwise_convolutions_of_other_encoders_are_counted(backbone, monkeypatch):
    for encoder in (resnet, axial_resnet):
        monkeypatch.setattr(encoder, "BLOCKS", (1, 1, 1, 1))
    model = build_model(small_config([f"model_options.backbone.name={backbone}"]))
    model.pixel_encoder = DepthwiseStem(model.pixel_encoder)
    cost = model_cost(model, 65, 97)
    assert cost.multiply_adds["pixel_encoder"]["depthwise_convolutions"] == 65 * 97 * 3 * 5 * 5
    assert cost.published_multiply_adds == cost.all_multiply_adds and cost.unpublished_multiply_adds == 0


def test_published_figures_exclude_depthwise_convolutions_of_convnext(small_model):
    cost = model_cost(small_model, 65, 97)
    assert cost.all_multiply_adds == sum(sum(kinds.values()) for kinds in cost.multiply_adds.values())
    difference = cost.all_multiply_adds - cost.published_multiply_adds
    assert difference == cost.multiply_adds["pixel_encoder"]["depthwise_convolutions"] > 0


def test_products_outside_of_the_parts_are_refused(small_model, monkeypatch):
    monkeypatch.setattr(small_model.predictor, "_name", "other")
    monkeypatch.setattr("kmax_tf.cost.model_cost.PARTS", PARTS[:3] + PARTS[4:])
    with pytest.raises(CostError, match="^kmax_deeplab/other/.* not in any of pixel_encoder, pixel_decoder, kmax_decoder"):
        model_cost(small_model, 65, 97)

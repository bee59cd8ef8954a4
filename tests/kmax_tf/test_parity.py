"""The COCO model with ResNet-50 compared with the published implementation, with the same weights and images."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from example_configs import published_config
from folded_model import folded
from published_values import arrays, checkpoint_keys, outputs_by_name, relative_error

from kmax_tf import build_loss, build_model, build_postprocessor, load_checkpoint
from kmax_tf.checkpoints.deeplab2_names import deeplab2_names
from kmax_tf.checkpoints.variable_names import named_variables
from kmax_tf.layers.drop_path import Dropout
from kmax_tf.losses.assignment import assign
from kmax_tf.losses.ground_truth import prepare
from protos import descriptions

GOLDEN = arrays("coco_r50")
OUTPUTS = ("semantic_logits", "pixel_space_normalized_feature", "pixel_space_mask_logits", "transformer_class_logits")
AUXILIARY = [f"aux{i}/{name}" for i in range(6) for name in OUTPUTS[1:]]
TERMS = sorted(key.removeprefix("loss/") for key in GOLDEN if key.startswith("loss/"))
MOMENTUM = 0.99
POST_PROCESSING = (
    "transformer_post_processing=maskwise",
    "thing_area_limit=400",
    "stuff_area_limit=6400",
    "maskwise_postprocessing={transformer_class_confidence_threshold_thing: 0.7 reorder_mask_weight: 1.0"
    " transformer_class_confidence_threshold_stuff: 0.5 overlapping_threshold: 0.8 reorder_class_weight: 1.0}",
)


def sample(name, value, stride):
    """The part of an output that the golden file holds."""
    if value.ndim == 4:
        return value[:, ::stride, ::stride]
    return value[:, ::4] if name.startswith("aux") else value


@pytest.fixture(scope="module")
def config():
    return published_config("coco", "kmax_resnet50", [f"evaluator_options.{option}" for option in POST_PROCESSING])


@pytest.fixture(scope="module")
def model(config, coco_r50_checkpoint):
    model = build_model(config)
    report = load_checkpoint(model, coco_r50_checkpoint)
    assert len(report.loaded) == len(model.variables) == len(checkpoint_keys()["coco_r50"]["variables"])
    assert not report.missing and not report.unexpected and not report.mismatched
    return model


@pytest.fixture(scope="module")
def images():
    return tf.constant(GOLDEN["image"])


@pytest.fixture(scope="module")
def inference(model, images):
    return model(images, training=False, semantic=True)


@dataclasses.dataclass(frozen=True)
class TrainingPass:
    outputs: dict
    losses: dict
    gradient_norms: dict
    statistics: dict


@pytest.fixture(scope="module")
def targets():
    names = ("semantic", "thing_id_mask", "thing_id_class")
    return {f"{name}_gt": tf.constant(GOLDEN[f"gt/{name}"], tf.int32) for name in names}


@pytest.fixture(scope="module")
def training(model, config, images, targets, inference):
    """One forward and backward pass without dropout; the moving statistics start at zero and are restored afterwards."""
    variables = named_variables(model)
    moving = {name: variable for name, variable in variables.items() if "moving_" in name}
    before = {name: variable.numpy() for name, variable in moving.items()}
    for variable in moving.values():
        variable.assign(tf.zeros_like(variable))
    with pytest.MonkeyPatch.context() as patch, tf.GradientTape() as tape:
        patch.setattr(Dropout, "call", lambda self, x, training=False: x)
        outputs = model(images, training=True)
        losses = build_loss(config)(targets, outputs)
        total = tf.reduce_mean(losses["total_loss"])
    published = deeplab2_names(list(variables))
    trainable = {published[name]: variable for name, variable in variables.items() if variable.trainable}
    gradients = dict(zip(trainable, tape.gradient(total, list(trainable.values()))))
    norms = {key: float(tf.norm(gradient)) for key, gradient in gradients.items()}
    statistics = {published[name]: variable.numpy() for name, variable in moving.items()}
    for name, value in before.items():
        moving[name].assign(value)
    return TrainingPass(dict(outputs_by_name(outputs)), losses, norms, statistics)


def test_number_of_trainable_parameters(model):
    parameters = sum(np.prod(variable.shape) for variable in model.trainable_variables)
    assert parameters == checkpoint_keys()["coco_r50"]["trainable_params"] == 72_436_862


def test_encoder_and_pixel_decoder(model, images):
    features = model.pixel_encoder(tf.cast(images, tf.float32) / 127.5 - 1.0)
    decoded = model.pixel_decoder(features)
    values = {f"encoder/{name}": feature for name, feature in features.items()}
    values |= {f"pixel_decoder/decoder_stage{i}": feature for i, feature in enumerate(decoded[:-1], 1)}
    values["pixel_decoder/decoder_output"] = decoded[-1]
    assert len(values) == 9
    for name, value in values.items():
        assert relative_error(value.numpy()[:, ::4, ::4, ::16], GOLDEN[f"infer/{name}"]) <= 1e-4, name


def test_outputs_in_inference_mode(inference):
    outputs = dict(outputs_by_name(inference))
    assert set(outputs) == {*OUTPUTS, *AUXILIARY}
    for name, value in outputs.items():
        assert relative_error(sample(name, value, 4), GOLDEN[f"infer/{name}"]) <= 1e-3, name


def test_outputs_of_the_inference_graph(model, images, inference):
    before = dict(outputs_by_name(inference))
    with folded(model):
        outputs = dict(outputs_by_name(tf.function(model, autograph=False)(images, training=False)))
    assert set(outputs) == {*OUTPUTS[1:], *AUXILIARY}
    for name, value in outputs.items():
        assert relative_error(sample(name, value, 4), GOLDEN[f"infer/{name}"]) <= 1e-3, name
        # Rounding alone: a graph and eager execution of the same model differ by 8e-5.
        assert relative_error(value, before[name]) <= 2e-4, name
        if name.endswith("mask_logits"):
            assert np.mean(value.argmax(-1) == before[name].argmax(-1)) >= 0.999, name


def test_outputs_in_training_mode(training):
    assert set(training.outputs) == {*OUTPUTS, *AUXILIARY}
    for name, value in training.outputs.items():
        assert relative_error(sample(name, value, 8), GOLDEN[f"train/{name}"]) <= 1e-3, name


def test_losses(training):
    assert set(training.losses) == set(TERMS)
    assert len(TERMS) == 5 + 6 * 4 + 1
    for name in TERMS:
        np.testing.assert_allclose(training.losses[name].numpy(), GOLDEN[f"loss/{name}"], rtol=1e-3, err_msg=name)


def test_assignment(targets, training):
    masks = training.outputs["pixel_space_mask_logits"]
    truth = prepare(targets, *masks.shape[1:3], descriptions.load("coco_panoptic"))
    pixels = masks.reshape(masks.shape[0], -1, masks.shape[-1])
    assignment = assign(truth, pixels, training.outputs["transformer_class_logits"])
    np.testing.assert_array_equal(assignment.slot_of_row, GOLDEN["match/slot"])
    assert (GOLDEN["match/slot"] >= 0).sum(1).min() >= 5


def test_gradients_of_the_kmax_decoder_and_the_heads(training):
    published = dict(zip(GOLDEN["grad_norm/name"].tolist(), GOLDEN["grad_norm/value"].tolist()))
    assert set(training.gradient_norms) == set(published)
    checked = {key: norm for key, norm in published.items() if key.startswith(("transformer_", "pixel_space_")) and norm > 1e-5}
    assert len(checked) > 200
    for key, norm in checked.items():
        assert training.gradient_norms[key] == pytest.approx(norm, rel=0.005), key


def test_moving_statistics_after_one_training_step(training):
    published = {key.removeprefix("bn/"): value for key, value in GOLDEN.items() if key.startswith("bn/")}
    assert set(training.statistics) == set(published)
    for key, value in training.statistics.items():
        # They start at zero, so they are now (1 - momentum) * batch statistics.
        error = np.abs(value / (1 - MOMENTUM) - published[key].reshape(value.shape))
        deviation = np.sqrt(published[key.replace("moving_mean", "moving_variance")]).reshape(value.shape)
        scale = deviation if key.endswith("moving_mean") else np.square(deviation)
        assert error.mean() / scale.mean() <= 1e-3, key


def test_panoptic_maps(config, inference):
    maps = build_postprocessor(config)(inference, GOLDEN["image"].shape[1:3])
    for name in ("panoptic_pred", "semantic_pred", "instance_pred"):
        assert np.mean(maps[name].numpy() == GOLDEN[f"post/{name}"]) >= 0.999, name

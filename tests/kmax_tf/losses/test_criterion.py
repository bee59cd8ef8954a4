import numpy as np
import pytest
import tensorflow as tf
from example_configs import small_config
from random_problem import enlarge_auxiliary, make_outputs, make_targets, permute_slots

from kmax_tf import build_loss

LOSS_OPTIONS = "trainer_options.loss_options"
ALL_PIXELS = "model_options.max_deeplab.instance_discrimination_sample_k=100000"
MAIN_TERMS = (
    "pq_style_loss_class_term",
    "pq_style_loss_mask_dice_term",
    "mask_id_cross_entropy_loss",
    "instance_discrimination_loss",
)
ALL_TERMS = {*MAIN_TERMS, "semantic_loss", *(f"aux_{i}{name}" for i in (0, 1) for name in MAIN_TERMS)}


def config_without(*terms, overrides=()):
    config = small_config([ALL_PIXELS, *overrides])
    for term in terms:
        config.trainer_options.loss_options.ClearField(term)
    return config


def compute(targets, outputs, config=None):
    losses = build_loss(config or small_config([ALL_PIXELS]))(targets, outputs)
    return {name: value.numpy() for name, value in losses.items()}


def gradients(targets, outputs):
    watched = [outputs[key] for key in outputs if key != "auxiliary_outputs"]
    watched += [value for one in outputs["auxiliary_outputs"] for value in one.values()]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        total = tf.reduce_mean(build_loss(small_config([ALL_PIXELS]))(targets, outputs)["total_loss"])
    return tape.gradient(total, watched)


def test_terms_match_the_config_and_sum_to_the_total():
    losses = compute(make_targets(), make_outputs())
    total = losses.pop("total_loss")
    assert set(losses) == ALL_TERMS
    assert all(value.shape == (2,) and value.dtype == np.float32 and (value > 0).all() for value in losses.values())
    np.testing.assert_allclose(sum(losses.values()), total, rtol=1e-6)


@pytest.mark.parametrize(
    ("message", "terms"),
    [
        ("pq_style_loss", {"pq_style_loss_class_term", "pq_style_loss_mask_dice_term"}),
        ("mask_id_cross_entropy_loss", {"mask_id_cross_entropy_loss"}),
        ("instance_discrimination_loss", {"instance_discrimination_loss"}),
        ("semantic_loss", {"semantic_loss"}),
    ],
)
def test_a_missing_message_removes_its_term(message, terms):
    everything = compute(make_targets(), make_outputs())
    losses = compute(make_targets(), make_outputs(), config_without(message))
    left_out = {name for name in ALL_TERMS if name.removeprefix("aux_0").removeprefix("aux_1") in terms}
    assert set(losses) == (ALL_TERMS - left_out) | {"total_loss"}
    np.testing.assert_allclose(
        losses["total_loss"], everything["total_loss"] - sum(everything[name] for name in left_out), rtol=1e-5
    )


def test_semantic_loss_needs_no_matching(monkeypatch):
    monkeypatch.setattr("kmax_tf.losses.criterion.assign", None)
    without = ("pq_style_loss", "mask_id_cross_entropy_loss", "instance_discrimination_loss")
    assert set(compute(make_targets(), make_outputs(), config_without(*without))) == {"semantic_loss", "total_loss"}


def test_weights_scale_the_terms():
    doubled = [f"{LOSS_OPTIONS}.pq_style_loss.weight=6", f"{LOSS_OPTIONS}.semantic_loss.weight=0.5"]
    before = compute(make_targets(), make_outputs())
    after = compute(make_targets(), make_outputs(), config_without(overrides=doubled))
    for name in ALL_TERMS:
        factor = 2.0 if "pq_style" in name else 0.5 if name == "semantic_loss" else 1.0
        np.testing.assert_allclose(after[name], factor * before[name], rtol=1e-6, err_msg=name)


def test_without_deep_supervision_only_the_main_output_has_losses():
    losses = compute(
        make_targets(), make_outputs(), config_without(overrides=["model_options.max_deeplab.deep_supervision=false"])
    )
    assert set(losses) == {*MAIN_TERMS, "semantic_loss", "total_loss"}


def test_order_of_the_slots_does_not_matter():
    order = np.random.default_rng(3).permutation(8)
    before = compute(make_targets(), make_outputs())
    after = compute(make_targets(), permute_slots(make_outputs(), order))
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=2e-5, err_msg=name)


def test_auxiliary_outputs_can_have_another_resolution():
    small, large = (compute(make_targets(), outputs) for outputs in (make_outputs(), enlarge_auxiliary(make_outputs())))
    assert small.keys() == large.keys()
    for name, value in small.items():
        np.testing.assert_allclose(value, large[name], rtol=1e-6, err_msg=name)


def test_images_are_independent():
    targets, outputs = make_targets(), make_outputs()
    both = compute(targets, outputs)
    second = {key: value[1:] for key, value in outputs.items() if key != "auxiliary_outputs"}
    second["auxiliary_outputs"] = tuple({k: v[1:] for k, v in one.items()} for one in outputs["auxiliary_outputs"])
    alone = compute({key: value[1:] for key, value in targets.items()}, second)
    for name, value in alone.items():
        np.testing.assert_allclose(value, both[name][1:], rtol=1e-5, err_msg=name)


def test_more_rows_than_slots():
    targets, outputs = make_targets(things=10), make_outputs(slots=4)
    assert all(np.isfinite(value).all() and (value > 0).all() for value in compute(targets, outputs).values())
    assert all(np.isfinite(gradient).all() for gradient in gradients(targets, outputs))


def test_an_image_without_labels():
    targets = make_targets()
    first = tf.constant([[[True]], [[False]]])
    targets["semantic_gt"] = tf.where(first, 0, targets["semantic_gt"])
    targets["thing_id_mask_gt"] = tf.where(first, -1, targets["thing_id_mask_gt"])
    losses = compute(targets, make_outputs())
    assert all(np.isfinite(value).all() for value in losses.values())
    for name in ALL_TERMS:
        # Without masks the slots still learn to predict void.
        assert (losses[name][0] == 0) == (not name.endswith("class_term")), name
    assert all(np.isfinite(gradient).all() for gradient in gradients(targets, make_outputs()))


@pytest.mark.parametrize("key", ["pixel_space_mask_logits", "transformer_class_logits", "semantic_logits"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite_logits_make_the_total_of_their_image_nan(key, value):
    outputs = make_outputs()
    array = outputs[key].numpy()
    array[(1, 2, 0, 0)[: array.ndim]] = value
    total = compute(make_targets(), outputs | {key: tf.constant(array)})["total_loss"]
    assert np.isfinite(total[0]) and not np.isfinite(total[1])


def test_predictions_that_do_not_fit_the_labels_are_refused():
    targets = {key: value[:, :-1] if value.shape.rank == 3 else value for key, value in make_targets().items()}
    with pytest.raises(ValueError, match="labels of 32x49 do not fit a prediction of 9x13"):
        compute(targets, make_outputs())

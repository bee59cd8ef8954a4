"""ReMaX compared with NumPy written from its formulas."""

import numpy as np
import pytest
import tensorflow as tf
from example_configs import small_config
from random_problem import HEIGHT, WIDTH, enlarge_auxiliary, make_outputs, make_targets

from kmax_tf import build_loss
from kmax_tf.losses.assignment import assign
from kmax_tf.losses.ground_truth import prepare
from kmax_tf.losses.relaxation import branch_loss, relaxed_classes, relaxed_masks
from protos import descriptions

INFO = descriptions.load("scenes_panoptic")
ALL_PIXELS = "model_options.max_deeplab.instance_discrimination_sample_k=100000"
RELAXATION = "model_options.max_deeplab.relaxation"
MASKS, CLASSES, SEMANTIC = "pixel_space_mask_logits", "transformer_class_logits", "relaxation_semantic_logits"
PIXELS = HEIGHT * WIDTH
random = np.random.default_rng(0)
SEMANTIC_LOGITS = random.standard_normal((2, HEIGHT, WIDTH, 6)).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def gate(semantic, classes):
    """[B,P,N]: the sum over the classes without void."""
    return np.einsum("bpc,bnc->bpn", sigmoid(semantic), sigmoid(classes)[..., :-1])


def problem(slots=8):
    """Ground truth, assignment, and the mask and class logits of the main output, pixels in one axis."""
    outputs, targets = make_outputs(slots), make_targets()
    masks = tf.reshape(outputs[MASKS], [2, PIXELS, -1])
    truth = prepare(targets, HEIGHT, WIDTH, INFO)
    return truth, assign(truth, masks, outputs[CLASSES]), masks, outputs[CLASSES]


def class_of_pixel():
    """[B,P], index in the class logits of the subsampled ground truth, -1 for void."""
    semantic = make_targets()["semantic_gt"].numpy()[:, ::4, ::4].reshape(2, PIXELS)
    return np.where(semantic == 0, -1, semantic - 1)


def test_masks_are_gated_and_keep_their_gradient():
    _, _, masks, classes = problem()
    semantic = tf.reshape(tf.constant(SEMANTIC_LOGITS), [2, PIXELS, 6])
    with tf.GradientTape() as tape:
        tape.watch([masks, semantic, classes])
        relaxed = relaxed_masks(masks, semantic, classes)
    expected = gate(semantic, classes)
    np.testing.assert_allclose(relaxed, masks.numpy() * (1 + expected), rtol=1e-5)
    of_masks, of_semantic, of_classes = tape.gradient(relaxed, [masks, semantic, classes])
    np.testing.assert_allclose(of_masks, 1 + expected, rtol=1e-5)
    assert of_semantic is None and of_classes is None


def test_class_targets():
    truth, assignment, masks, _ = problem(slots=10)
    eta, label, slots = 0.3, class_of_pixel(), masks.shape[-1]
    expected = np.zeros((2, slots, 7))
    for image in range(2):
        for slot in range(slots):
            share = np.zeros(7)
            for c in range(6):
                pixels = label[image] == c
                if pixels.any():
                    share[c] = sigmoid(masks[image].numpy()[pixels, slot]).sum() / pixels.sum()
            one_hot = np.eye(7)[assignment.slot_class[image, slot].numpy()]
            expected[image, slot] = eta * share + (1 - eta * share) * one_hot
    targets = relaxed_classes(truth, assignment, masks, 6, eta).numpy()
    np.testing.assert_allclose(targets, expected, rtol=1e-5, atol=1e-7)
    # The class of the assignment stays certain, and void is not relaxed.
    assert (np.take_along_axis(targets, assignment.slot_class.numpy()[..., None], 2) == 1).all()
    np.testing.assert_array_equal(targets[..., -1], assignment.slot_class == 6)
    assert (assignment.slot_class == 6).numpy().any()
    np.testing.assert_array_equal(
        relaxed_classes(truth, assignment, masks, 6, 0.0), tf.one_hot(assignment.slot_class, 7), "eta 0 relaxes nothing"
    )


def test_branch_learns_the_classes_of_pixels():
    truth = problem()[0]
    logits, label = SEMANTIC_LOGITS.reshape(2, PIXELS, 6).astype(np.float64), class_of_pixel()
    log_probability = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -np.take_along_axis(log_probability, np.maximum(label, 0)[..., None], 2)[..., 0]
    expected = [losses[image][label[image] >= 0].mean() for image in range(2)]
    value = branch_loss(truth, tf.constant(logits, tf.float32), 1.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert (branch_loss(truth, tf.constant(logits, tf.float32), 0.2) > value).numpy().all()


def losses_of(outputs, *overrides):
    losses = build_loss(small_config([ALL_PIXELS, *overrides]))(make_targets(), outputs)
    return {name: value.numpy() for name, value in losses.items()}


def test_losses_of_relaxed_masks():
    """They are those of the relaxed masks without relaxation, except the branch's own; the assignment stays the same."""
    outputs = enlarge_auxiliary(make_outputs())
    first, second = outputs["auxiliary_outputs"]
    factor = 1 + gate(SEMANTIC_LOGITS.reshape(2, PIXELS, 6), first[CLASSES]).reshape(2, HEIGHT, WIDTH, -1)
    by_hand = first | {MASKS: tf.constant(first[MASKS].numpy() * factor, tf.float32)}
    expected = losses_of(outputs | {"auxiliary_outputs": (by_hand, second)})
    with_branch = first | {SEMANTIC: tf.constant(SEMANTIC_LOGITS)}
    weights = "trainer_options.loss_options.semantic_loss.weight=0.5"
    losses = losses_of(outputs | {"auxiliary_outputs": (with_branch, second)}, f"{RELAXATION}.masks=true", weights)
    branch = losses.pop("aux_0semantic_loss")
    np.testing.assert_allclose(branch, 0.5 * branch_loss(problem()[0], SEMANTIC_LOGITS.reshape(2, PIXELS, 6), 1.0), rtol=1e-6)
    total, semantic = expected.pop("total_loss"), expected.pop("semantic_loss")
    np.testing.assert_allclose(losses.pop("total_loss"), total - 0.5 * semantic + branch, rtol=1e-5)
    np.testing.assert_allclose(losses.pop("semantic_loss"), 0.5 * semantic, rtol=1e-6)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-5, err_msg=name)


def test_class_term_of_relaxed_classes():
    truth, assignment, masks, logits = problem()
    targets = relaxed_classes(truth, assignment, masks, 6, 0.1).numpy()
    logits = logits.numpy().astype(np.float64)
    entropy = -(targets * (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))).sum(-1)
    alpha = np.where(assignment.slot_class == 6, 0.25, 0.75)
    expected = (alpha * entropy * np.maximum(assignment.slot_weight, 1e-5)).mean(1)
    losses, plain = losses_of(make_outputs(), f"{RELAXATION}.classes=true"), losses_of(make_outputs())
    np.testing.assert_allclose(losses["pq_style_loss_class_term"], 3 * expected, rtol=1e-5)
    changed = {name for name in plain if not np.allclose(losses[name], plain[name], rtol=1e-6)}
    assert changed == {f"{prefix}pq_style_loss_class_term" for prefix in ("", "aux_0", "aux_1")} | {"total_loss"}


def test_masks_need_deep_supervision():
    with pytest.raises(ValueError, match="relaxation.masks: has no effect without deep_supervision"):
        small_config([f"{RELAXATION}.masks=true", "model_options.max_deeplab.deep_supervision=false"])

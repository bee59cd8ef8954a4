"""The losses compared with the published implementation on three datasets, and a small example worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf
from example_configs import published_config
from published_values import arrays, relative_error

from kmax_tf import build_loss
from kmax_tf.losses.assignment import assign
from kmax_tf.losses.ground_truth import prepare
from protos import descriptions

MASKS, CLASSES = "pixel_space_mask_logits", "transformer_class_logits"
ALL_PIXELS = "model_options.max_deeplab.instance_discrimination_sample_k=100000"


def slots_of(targets, outputs, dataset):
    masks = outputs[MASKS]
    truth = prepare(targets, *masks.shape[1:3], descriptions.load(f"{dataset}_panoptic"))
    pixels = tf.reshape(masks, [masks.shape[0], -1, masks.shape[-1]])
    return assign(truth, pixels, outputs[CLASSES]).slot_of_row.numpy()


@pytest.mark.parametrize("dataset", ["coco", "cityscapes", "ade20k"])
def test_golden_losses_slots_and_gradients(dataset):
    golden = arrays("losses", f"{dataset}/")

    def tensors(prefix, dtype):
        chosen = {key.removeprefix(prefix): value for key, value in golden.items() if key.startswith(prefix)}
        return {key: tf.constant(value.astype(dtype)) for key, value in chosen.items()}

    outputs = tensors("pred/", np.float32) | {"auxiliary_outputs": (tensors("aux0/", np.float32),)}
    targets = tensors("gt/", np.float32)
    with tf.GradientTape() as tape:
        tape.watch([outputs[MASKS], outputs[CLASSES]])
        losses = build_loss(published_config(dataset, "kmax_resnet50", [ALL_PIXELS]))(targets, outputs)
        total = tf.reduce_mean(losses["total_loss"])
    masks, classes = tape.gradient(total, [outputs[MASKS], outputs[CLASSES]])

    published = {key.removeprefix("loss/"): value for key, value in golden.items() if key.startswith("loss/")}
    assert set(losses) == set(published) and len(published) == 10
    for name, value in published.items():
        np.testing.assert_allclose(losses[name].numpy(), value, rtol=1e-4, err_msg=name)
    np.testing.assert_array_equal(slots_of(targets, outputs, dataset), golden["slot"])
    assert relative_error(masks.numpy()[:, ::4, ::4], golden["grad/mask_logits"]) <= 1e-3
    assert relative_error(classes.numpy()[:, ::2], golden["grad/class_logits"]) <= 1e-3


def example_outputs():
    random = np.random.RandomState(7)

    def prediction():
        features = random.standard_normal((2, 9, 9, 8))
        features /= np.linalg.norm(features, axis=-1, keepdims=True)
        yield "pixel_space_normalized_feature", features
        yield MASKS, 3 * random.standard_normal((2, 9, 9, 16))
        yield CLASSES, random.standard_normal((2, 16, 134))

    main = dict(prediction()) | {"semantic_logits": random.standard_normal((2, 9, 9, 134))}
    auxiliary = dict(prediction())

    def tensors(arrays):
        return {key: tf.constant(value, tf.float32) for key, value in arrays.items()}

    return tensors(main) | {"auxiliary_outputs": (tensors(auxiliary),)}


def example_targets():
    semantic, thing = np.zeros((2, 33, 33), np.int32), np.full((2, 33, 33), -1, np.int32)
    semantic[0, 5:] = 81
    semantic[1] = np.where(np.arange(33) < 16, 90, 133)
    instances = [(0, 0, 1, 6, 16, 2, 14), (0, 1, 1, 6, 20, 18, 31), (0, 2, 3, 20, 32, 4, 15), (1, 0, 17, 10, 25, 8, 24)]
    for image, number, class_id, top, bottom, left, right in instances:
        semantic[image, top:bottom, left:right] = class_id
        thing[image, top:bottom, left:right] = number
    classes = np.full((2, 8), -1, np.int32)
    classes[0, :3], classes[1, 0] = (1, 1, 3), 17
    return {
        "semantic_gt": tf.constant(semantic),
        "thing_id_mask_gt": tf.constant(thing),
        "thing_id_class_gt": tf.constant(classes),
        "semantic_loss_weight": tf.ones(semantic.shape),
    }


# The published solver adds constants of 999, which costs precision, and misses the optimum by 3e-5: it gives row 17 slot 0.
PUBLISHED_SLOTS = [{0: 2, 1: 11, 2: 1, 8: 7}, {0: 1, 17: 0, 60: 3}]
OPTIMAL_SLOTS = [{0: 2, 1: 11, 2: 1, 8: 7}, {0: 1, 17: 8, 60: 3}]
EXAMPLE = {
    "pq_style_loss_class_term": (1.195736, 0.254748),
    "pq_style_loss_mask_dice_term": (0.008182, 0.005985),
    "mask_id_cross_entropy_loss": (1.377360, 1.544085),
    "instance_discrimination_loss": (4.906490, 5.068766),
    "semantic_loss": (5.607128, 5.477028),
    "aux_0pq_style_loss_class_term": (1.272825, 0.319979),
    "aux_0pq_style_loss_mask_dice_term": (0.009421, 0.006258),
    "aux_0mask_id_cross_entropy_loss": (1.720742, 1.563529),
    "aux_0instance_discrimination_loss": (5.040680, 5.026833),
}


@pytest.fixture
def published_slots(monkeypatch):
    slots = np.full((2, 61), -1, np.int32)
    for image, slot_of_row in enumerate(PUBLISHED_SLOTS):
        slots[image, list(slot_of_row)] = list(slot_of_row.values())
    monkeypatch.setattr("kmax_tf.losses.assignment.match", lambda cost, valid: tf.constant(slots))


@pytest.mark.usefixtures("published_slots")
def test_example_with_every_pixel_sampled():
    losses = build_loss(published_config("coco", "kmax_resnet50"))(example_targets(), example_outputs())
    assert set(losses) == {*EXAMPLE, "total_loss"}
    for name, value in EXAMPLE.items():
        np.testing.assert_allclose(losses[name].numpy(), value, rtol=1e-5, atol=6e-7, err_msg=name)


@pytest.mark.usefixtures("published_slots")
def test_example_with_mean_mask_features_and_hard_pixels():
    overrides = [
        "model_options.max_deeplab.instance_discrimination_sample_k=0",
        "trainer_options.loss_options.semantic_loss.top_k_percent=0.2",
    ]
    losses = build_loss(published_config("coco", "kmax_resnet50", overrides))(example_targets(), example_outputs())
    changed = {
        "instance_discrimination_loss": (1.003156, 1.161574),
        "aux_0instance_discrimination_loss": (1.174762, 0.969856),
        "semantic_loss": (6.972723, 7.104506),
    }
    for name, value in (EXAMPLE | changed).items():
        np.testing.assert_allclose(losses[name].numpy(), value, rtol=1e-5, atol=6e-7, err_msg=name)


def test_example_slots():
    slots = slots_of(example_targets(), example_outputs(), "coco")
    found = [{int(row): int(image[row]) for row in np.flatnonzero(image >= 0)} for image in slots]
    assert found == OPTIMAL_SLOTS

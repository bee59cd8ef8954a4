"""Losses for datasets without things, without stuff or with one class, compared with the papers' formulas in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from example_configs import small_config
from random_problem import HEIGHT, STRIDE, WIDTH, make_outputs
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax, softmax

from kmax_tf import build_loss
from protos import descriptions
from protos.descriptions import DatasetInfo

ALL_PIXELS = "model_options.max_deeplab.instance_discrimination_sample_k=100000"
MAX_THINGS = 6
# Whether each class is a thing, and the ignore label; ids start at 1 if it is 0.
TABLES = {
    "stuff": ((False, False, False), 0),
    "things": ((True, True), 0),
    "one stuff": ((False,), 0),
    "one thing": ((True,), 0),
    "one thing, ignore 255": ((True,), 255),
    "one stuff, ignore 255": ((False,), 255),
}


def describe(folder, is_thing, ignore) -> str:
    first = 1 if ignore == 0 else 0
    lines = [f'name: "own" panoptic_label_divisor: 256 ignore_label: {ignore}']
    lines += [f'classes {{ id: {i} name: "c{i}" is_thing: {str(thing).lower()} }}' for i, thing in enumerate(is_thing, first)]
    path = folder / "own.textproto"
    path.write_text("\n".join(lines))
    return str(path)


def make_targets(info: DatasetInfo, seed: int = 0) -> dict[str, np.ndarray]:
    """Two images: one with rectangles over void or the first stuff class, and one without labels."""
    random = np.random.default_rng(seed)
    size = (2, (HEIGHT - 1) * STRIDE + 1, (WIDTH - 1) * STRIDE + 1)
    semantic, thing = np.full(size, info.ignore_label), np.full(size, -1)
    classes = np.full([2, MAX_THINGS], -1)
    for number in range(4):
        class_id = int(random.choice(info.class_order))
        top, left = STRIDE * random.integers(0, HEIGHT - 4, 2)
        area = np.s_[0, top : top + 12, left : left + 16]
        semantic[area], thing[area] = class_id, -1
        if class_id in info.thing_ids:
            thing[area], classes[0, number] = number, class_id
    return {"semantic_gt": semantic, "thing_id_mask_gt": thing, "thing_id_class_gt": classes}


def mean_of_nonzero(values: np.ndarray) -> float:
    counted = values[values != 0]
    return counted.mean() if counted.size else 0.0


def reference(targets: dict, outputs: dict[str, np.ndarray], info: DatasetInfo, image: int) -> dict[str, float]:
    """The terms of the main output for one image, with the weights of small_config."""
    semantic, thing = (targets[k][image, ::STRIDE, ::STRIDE].ravel() for k in ("semantic_gt", "thing_id_mask_gt"))
    order = list(info.class_order)
    rows = [(thing == n, order.index(targets["thing_id_class_gt"][image, n])) for n in range(MAX_THINGS) if (thing == n).any()]
    rows += [(semantic == i, order.index(i)) for i in info.stuff_ids if (semantic == i).any()]
    masks = np.array([mask for mask, _ in rows], float).reshape(len(rows), semantic.size)
    labels = [label for _, label in rows]
    mask_logits = outputs["pixel_space_mask_logits"][image].reshape(semantic.size, -1)
    class_logits = outputs["transformer_class_logits"][image]
    probability, slots, void = softmax(mask_logits, 1), len(class_logits), len(order)

    known = probability * (semantic != info.ignore_label)[:, None]
    dice = masks @ known / ((masks.sum(1)[:, None] + known.sum(0)) / 2 + 1e-5)
    similarity = softmax(class_logits, 1)[:, labels].T
    row, slot = linear_sum_assignment(-dice * similarity)
    slot_of_row = np.zeros(len(rows), int)
    slot_of_row[row] = slot

    target, weight = np.full(slots, void), 1 - known.sum(0) / (probability.sum(0) + 1e-5)
    target[slot], weight[slot] = np.array(labels, int)[row], dice[row, slot]
    entropy = -log_softmax(class_logits, 1)[np.arange(slots), target]
    class_term = mean_of_nonzero(np.where(target == void, 0.25, 0.75) * entropy * np.maximum(weight, 1e-5))

    labeled = masks.sum(0) > 0
    inside = probability * labeled[:, None]
    mask_term = sum(
        similarity[g, n] * (1 - (2 * masks[g] @ inside[:, n] + 1) / (inside[:, n].sum() + masks[g].sum() + 1))
        for g, n in zip(row, slot)
    )
    row_of_pixel = np.argmax(np.vstack([masks, np.zeros(semantic.size)]), 0)
    pixels = np.flatnonzero(labeled)
    mask_id = [-log_softmax(mask_logits[p])[slot_of_row[row_of_pixel[p]]] for p in pixels]

    features = outputs["pixel_space_normalized_feature"][image].reshape(semantic.size, -1)
    log_share = log_softmax(features @ features.T / 0.3, 1)
    contrast = [-log_share[p, pixels[row_of_pixel[pixels] == row_of_pixel[p]]].mean() for p in pixels]
    semantic_logits = outputs["semantic_logits"][image].reshape(semantic.size, -1)
    pixel_entropy = [-log_softmax(semantic_logits[p])[semantic[p]] for p in np.flatnonzero(semantic != info.ignore_label)]
    return {
        "pq_style_loss_class_term": 3 * class_term,
        "pq_style_loss_mask_dice_term": 3 * 0.75 / slots * mask_term,
        "mask_id_cross_entropy_loss": 0.3 * mean_of_nonzero(np.array(mask_id)),
        "instance_discrimination_loss": mean_of_nonzero(np.array(contrast)),
        "semantic_loss": mean_of_nonzero(np.array(pixel_entropy)),
    }


@pytest.mark.parametrize("table", TABLES)
def test_terms_equal_the_formulas_and_gradients_are_finite(table, tmp_path):
    path = describe(tmp_path, *TABLES[table])
    info = descriptions.load(path)
    config = small_config([ALL_PIXELS, f"train_dataset_options.dataset={path}"])
    assert config.model_options.max_deeplab.auxiliary_semantic_head.output_channels == info.num_ids
    targets = make_targets(info)
    outputs = make_outputs(classes=info.num_classes, ids=info.num_ids)
    tensors = {key: tf.constant(value, tf.int32) for key, value in targets.items()}
    auxiliary = outputs["auxiliary_outputs"]
    watched = [v for k, v in outputs.items() if k != "auxiliary_outputs"] + [v for one in auxiliary for v in one.values()]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        losses = build_loss(config)(tensors, outputs)
        total = tf.reduce_mean(losses["total_loss"])
    gradients = tape.gradient(total, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    assert all(np.isfinite(gradient).all() for gradient in gradients) and any(np.any(gradient) for gradient in gradients)

    arrays = {key: value.numpy() for key, value in outputs.items() if key != "auxiliary_outputs"}
    for image in range(2):
        for name, value in reference(targets, arrays, info, image).items():
            np.testing.assert_allclose(losses[name][image], value, rtol=2e-5, atol=1e-6, err_msg=f"{name} of image {image}")
    names = [name for name in losses if name != "total_loss"]
    np.testing.assert_allclose(sum(losses[name] for name in names), losses["total_loss"], rtol=1e-5)

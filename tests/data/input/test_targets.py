"""Training targets against a loop over the pixels."""

import numpy as np
import pytest
import tensorflow as tf
from panoptic_fixtures import INFO, random_panoptic

from data.input import targets
from data.records import segments
from protos.dataset_pb2 import DatasetOptions


def _reference(panoptic, divisor, limit, threshold=0, weight=1.0):
    """Numbers instances in raster order; if there are too many, keeps the largest (the first of two of the same size)."""
    first_seen = {}
    for position, label in enumerate(panoptic.ravel().tolist()):
        if label // divisor in (1, 2) and label % divisor > 0:
            first_seen.setdefault(label, position)
    areas = {label: int((panoptic == label).sum()) for label in first_seen}
    largest = sorted(first_seen, key=lambda label: (-areas[label], first_seen[label]))[:limit]
    kept = sorted(largest, key=first_seen.get)
    semantic, mask, weights = panoptic // divisor, np.full(panoptic.shape, -1), np.ones(panoptic.shape, np.float32)
    for label in first_seen:
        if label not in kept:
            semantic = np.where(panoptic == label, 0, semantic)
            continue
        mask[panoptic == label] = kept.index(label)
        if areas[label] < threshold:
            weights[panoptic == label] = weight
    classes = np.full(limit, -1)
    classes[: len(kept)] = [label // divisor for label in kept]
    return (
        {"semantic_gt": semantic, "semantic_loss_weight": weights, "thing_id_mask_gt": mask, "thing_id_class_gt": classes},
        len(first_seen) - len(kept),
    )


def _check(panoptic, options, expected):
    made, dropped, classes = tf.function(lambda x: targets.build_targets(x, options, INFO))(tf.constant(panoptic, tf.int32))
    assert set(made) == set(expected[0])
    for key, value in expected[0].items():
        np.testing.assert_array_equal(made[key], value, err_msg=key)
        assert made[key].dtype == (tf.float32 if key == "semantic_loss_weight" else tf.int32)
    assert int(dropped) == expected[1]
    assert set(classes.numpy().tolist()) == set((panoptic // 256).ravel().tolist())


@pytest.mark.parametrize("limit", [64, 20, 1])
@pytest.mark.parametrize("seed", range(3))
def test_against_a_loop(limit, seed):
    panoptic = random_panoptic(np.random.default_rng(seed), 48, 56, instances=15)
    options = DatasetOptions(max_thing_id=limit, small_instance_threshold=40, small_instance_weight=3.0)
    _check(panoptic, options, _reference(panoptic, 256, limit))
    options.increase_small_instance_weights = True
    _check(panoptic, options, _reference(panoptic, 256, limit, 40, 3.0))


def test_crowds_stuff_and_void():
    # A crowd that kept its class (256) is not an instance.
    panoptic = np.array([[0, 256, 513, 513], [768, 768, 257, 0]])
    options = DatasetOptions(max_thing_id=4)
    _check(panoptic, options, _reference(panoptic, 256, 4))
    made, *_ = targets.build_targets(tf.constant(panoptic, tf.int32), options, INFO)
    np.testing.assert_array_equal(made["thing_id_mask_gt"], [[-1, -1, 0, 0], [-1, -1, 1, -1]])
    np.testing.assert_array_equal(made["semantic_gt"], [[0, 1, 2, 2], [3, 3, 1, 0]])
    np.testing.assert_array_equal(made["thing_id_class_gt"], [2, 1, -1, -1])


def test_pasted_segments_are_instances_of_their_own():
    """Two images may have the same instance id."""
    panoptic = np.array([[257, 257, 768], [514, 257, 0]], np.int32)
    pasted = np.array([[0, 1, 0], [1, 0, 1]], bool)
    numbers = tf.where(pasted, segments.pasted(tf.constant(panoptic)), panoptic)
    made, *_ = targets.build_targets(numbers, DatasetOptions(max_thing_id=4), INFO)
    np.testing.assert_array_equal(made["semantic_gt"], panoptic // 256)
    np.testing.assert_array_equal(made["thing_id_mask_gt"], [[0, 1, -1], [2, 0, -1]])
    np.testing.assert_array_equal(made["thing_id_class_gt"], [1, 1, 2, -1])


def test_image_without_labels():
    panoptic = np.zeros((5, 7), np.int32)
    _check(panoptic, DatasetOptions(max_thing_id=3), _reference(panoptic, 256, 3))

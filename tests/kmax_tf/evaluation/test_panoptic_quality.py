"""PQ by hand; test_agreement.py compares it with NumPy on random maps."""

import dataclasses

import numpy as np
import pytest
from panoptic_scenes import INFO

from kmax_tf.evaluation.panoptic_quality import PanopticQuality
from kmax_tf.evaluation.segment_matching import LabelPairs
from kmax_tf.evaluation.segments import EvaluationError, count_labels, decode_segments


def score(scenes, info=INFO):
    quality = PanopticQuality(info.classes)
    for truth, prediction in scenes:
        true_segments = decode_segments(truth, info, "image", crowds=True)
        predicted = decode_segments(prediction, info, "image", crowds=False)
        quality.add(LabelPairs(truth, true_segments, prediction, predicted))
    return quality.result()


def test_perfect_prediction_and_absent_classes():
    truth = np.full([10, 10], 4 * 256, np.int32)
    truth[2:5, 2:6] = 257
    result = score([(truth, truth.copy())])
    assert result["pq"] == result["pq_things"] == result["pq_stuff"] == 100
    assert result["per_class"]["box"] == {"pq": 0, "sq": 0, "rq": 0, "tp": 0, "fp": 0, "fn": 0}


def strip(*parts):
    """A one-row map of (label, pixels)."""
    return np.concatenate([np.full([1, n], label, np.int32) for label, n in parts], axis=1)


@pytest.mark.parametrize(
    ("truth", "prediction", "tp", "fp", "fn"),
    [
        (strip((257, 4), (0, 16)), strip((257, 20)), 1, 0, 0),  # the union excludes void
        (strip((0, 11), (1024, 9)), strip((258, 20)), 0, 0, 0),  # more than half over void
        (strip((0, 10), (1024, 10)), strip((258, 20)), 0, 1, 0),  # exactly half
        (strip((256, 11), (1024, 9)), strip((258, 20)), 0, 0, 0),  # more than half over the crowd of the class
        (strip((512, 11), (1024, 9)), strip((258, 20)), 0, 1, 0),  # crowd of another class
        (strip((256, 6), (0, 5), (1024, 9)), strip((258, 20)), 0, 0, 0),  # crowd and void together
        (strip((256, 20)), strip((0, 20)), 0, 0, 0),  # a crowd region may be missed
        (strip((256, 20)), strip((257, 20)), 0, 0, 0),  # and does not match
        (strip((257, 10), (258, 10)), strip((257, 20)), 0, 1, 2),  # IoU of exactly one half
    ],
)
def test_void_and_crowd_by_hand(truth, prediction, tp, fp, fn):
    disc = score([(truth, prediction)])["per_class"]["disc"]
    assert (disc["tp"], disc["fp"], disc["fn"]) == (tp, fp, fn)


def test_means_over_nothing_are_none():
    empty = np.zeros([4, 4], np.int32)
    for scenes in ([], [(empty, empty)]):
        result = score(scenes)
        assert [result[k] for k in ("pq", "sq", "rq", "pq_things", "pq_stuff")] == [None] * 5
    truth = np.full([4, 4], 1024, np.int32)
    assert score([(truth, empty)])["per_class"]["sky"]["fn"] == 1
    assert score([(empty + 257, truth)])["per_class"]["sky"]["fp"] == 1


def test_a_group_without_segments_is_none_until_one_is_predicted():
    sky, disc = np.full([4, 4], 1024, np.int32), np.full([4, 4], 257, np.int32)
    result = score([(sky, sky)])
    assert (result["pq_things"], result["pq_stuff"], result["pq"]) == (None, 100, 100)
    result = score([(sky, disc)])
    assert (result["pq_things"], result["pq_stuff"], result["pq"]) == (0, 0, 0)


def test_a_group_without_classes_is_none():
    stuff_only = dataclasses.replace(INFO, classes=tuple(c for c in INFO.classes if not c.is_thing))
    truth = np.full([4, 4], 1024, np.int32)
    result = score([(truth, truth)], stuff_only)
    assert (result["pq_things"], result["pq_stuff"], result["pq"]) == (None, 100, 100)


def test_equal_names_keep_both_classes():
    twice = dataclasses.replace(INFO, classes=tuple(dataclasses.replace(c, name="thing") for c in INFO.classes[:2]))
    assert list(score([], twice)["per_class"]) == ["thing (1)", "thing (2)"]


def test_unknown_class_is_named():
    with pytest.raises(
        EvaluationError, match="img7: the ground truth has label 2305, class 9 .* scenes_panoptic has classes 1 to 6"
    ):
        decode_segments(np.full([2, 2], 9 * 256 + 1, np.int32), INFO, "img7", crowds=True)


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (37, 23)])
def test_count_labels(shape):
    labels = np.random.default_rng(1).integers(0, 6, shape) // 2 * 100
    values, counts = np.unique(labels, return_counts=True)
    assert count_labels(labels) == dict(zip(values.tolist(), counts.tolist(), strict=True))

"""PQ against the formula, computed segment by segment with boolean masks."""

import dataclasses

import numpy as np
import pytest
from panoptic_scenes import INFO, disturb, random_scene

from kmax_tf.evaluation.panoptic_quality import PanopticQuality
from kmax_tf.evaluation.segments import EvaluationError, count_labels, decode_segments


def masks_of(labels):
    """Class, crowd flag and mask of each segment of a panoptic map, in the order of the labels."""
    found = []
    for label in np.unique(labels):
        if label >= 256:
            found.append((label // 256, bool(label // 256 <= 3 and label % 256 == 0), labels == label))
    return found


def formula(scenes):
    """tp, fp, fn and sum of IoU by class id, for (ground truth, prediction) pairs of maps."""
    counts = {c.id: [0, 0, 0, 0.0] for c in INFO.classes}
    for truth, prediction in scenes:
        void = truth == 0
        true, predicted = masks_of(truth), masks_of(prediction)
        hit_true, hit_predicted = set(), set()
        for i, (class_a, crowd, a) in enumerate(true):
            for j, (class_b, _, b) in enumerate(predicted):
                iou = (a & b).sum() / ((a | b) & ~(void & b)).sum()
                if class_a == class_b and not crowd and iou > 0.5:
                    counts[class_a][0] += 1
                    counts[class_a][3] += iou
                    hit_true.add(i)
                    hit_predicted.add(j)
        for i, (class_id, crowd, _) in enumerate(true):
            counts[class_id][2] += i not in hit_true and not crowd
        for j, (class_id, _, b) in enumerate(predicted):
            excuse = void | np.any([a for c, crowd, a in true if crowd and c == class_id] or [np.zeros_like(b)], axis=0)
            counts[class_id][1] += j not in hit_predicted and (b & excuse).sum() <= b.sum() / 2
    return counts


def score(scenes, info=INFO):
    quality = PanopticQuality(info.classes)
    for truth, prediction in scenes:
        true_segments = decode_segments(truth, info, "image", crowds=True)
        quality.update(truth, true_segments, prediction, decode_segments(prediction, info, "image", crowds=False))
    return quality.result()


def test_random_scenes_follow_the_formula():
    rng = np.random.default_rng(0)
    scenes = [(truth := random_scene(rng), disturb(rng, truth)) for _ in range(60)]
    expected, result = formula(scenes), score(scenes)
    pqs = {}
    for c in INFO.classes:
        tp, fp, fn, iou = expected[c.id]
        got = result["per_class"][c.name]
        assert (got["tp"], got["fp"], got["fn"]) == (tp, fp, fn)
        assert min(tp, fp, fn) > 0
        pqs[c.id] = 100 * iou / (tp + fp / 2 + fn / 2)
        assert got["pq"] == pytest.approx(pqs[c.id])
        assert got["sq"] == pytest.approx(100 * iou / tp)
        assert got["rq"] == pytest.approx(100 * tp / (tp + fp / 2 + fn / 2))
    assert result["pq"] == pytest.approx(np.mean(list(pqs.values())))
    assert result["pq_things"] == pytest.approx(np.mean([pqs[i] for i in (1, 2, 3)]))
    assert result["pq_stuff"] == pytest.approx(np.mean([pqs[i] for i in (4, 5, 6)]))
    for key in ("sq", "rq"):
        assert result[key] == pytest.approx(np.mean([q[key] for q in result["per_class"].values()]))


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

"""mIoU against sets of pixels, and the evaluator that combines the metrics; AP is in test_agreement.py."""

import dataclasses
import json

import numpy as np
import pytest
from panoptic_scenes import INFO, disturb, random_scene

from kmax_tf.evaluation.evaluator import PanopticEvaluator
from kmax_tf.evaluation.segments import EvaluationError
from protos import evaluator_pb2


def make_scenes(count=25, seed=3):
    rng = np.random.default_rng(seed)
    scenes = []
    for _ in range(count):
        truth = random_scene(rng)
        panoptic = disturb(rng, truth)
        prediction = {
            "panoptic_pred": panoptic,
            "semantic_pred": np.where(panoptic > 0, panoptic // 256, 1 + rng.integers(0, 6, panoptic.shape)).astype(np.int32),
            "semantic_scores": rng.random(panoptic.shape, np.float32),
            "instance_scores": rng.random(panoptic.shape, np.float32),
        }
        scenes.append((truth, prediction))
    return scenes


def evaluate(scenes, info=INFO, **options):
    evaluator = PanopticEvaluator(info, evaluator_pb2.EvaluatorOptions(**options))
    for i, (truth, prediction) in enumerate(scenes):
        evaluator.update(f"image{i}", prediction, truth)
    return evaluator.result()


def test_mean_iou_from_sets_of_pixels():
    scenes = make_scenes()
    result = evaluate(scenes)
    true, predicted = {i: set() for i in range(1, 7)}, {i: set() for i in range(1, 7)}
    for n, (truth, prediction) in enumerate(scenes):
        for y, x in np.argwhere(truth > 0).tolist():
            true[int(truth[y, x]) // 256].add((n, y, x))
            predicted[int(prediction["semantic_pred"][y, x])].add((n, y, x))
    expected = {i: 100 * len(true[i] & predicted[i]) / len(true[i] | predicted[i]) for i in true}
    for c in INFO.classes:
        assert result["per_class"][c.name]["iou"] == pytest.approx(expected[c.id])
    assert result["mean_iou"] == pytest.approx(np.mean(list(expected.values())))


def test_mean_iou_excludes_ignored_pixels_and_empty_classes():
    truth = np.array([[0, 0, 1024, 1024], [1280, 1280, 1280, 1280]], np.int32)
    zeros = np.zeros(truth.shape)
    prediction = {
        "panoptic_pred": zeros.astype(np.int32),
        "semantic_pred": np.array([[6, 6, 4, 5], [5, 5, 5, 0]], np.int32),  # 0 is void, which is wrong here
        "semantic_scores": zeros,
        "instance_scores": zeros,
    }
    result = evaluate([(truth, prediction)])
    assert result["per_class"]["sky"]["iou"] == pytest.approx(50)
    assert result["per_class"]["grass"]["iou"] == pytest.approx(60)
    assert result["per_class"]["water"]["iou"] is None and result["per_class"]["disc"]["iou"] is None
    assert result["mean_iou"] == pytest.approx(55)


def test_result_is_json_with_the_documented_keys():
    result = json.loads(json.dumps(evaluate(make_scenes(4)), allow_nan=False))
    assert list(result) == ["pq", "sq", "rq", "pq_things", "pq_stuff", "mean_iou", "ap", "per_class"]
    assert list(result["per_class"]) == [c.name for c in INFO.classes]
    assert set(result["per_class"]["disc"]) == {"pq", "sq", "rq", "tp", "fp", "fn", "iou"}
    detailed = evaluate(make_scenes(4), detailed_ap_metrics=True)
    assert detailed["ap"] == result["ap"] and detailed.keys() - result.keys() >= {"ap_50", "ar_large"}


def test_dataset_without_things_has_no_ap():
    stuff = dataclasses.replace(INFO, classes=tuple(dataclasses.replace(c, is_thing=False) for c in INFO.classes))
    result = evaluate(make_scenes(2), stuff)
    assert result["ap"] is None and result["pq_things"] is None and result["pq_stuff"] is not None


def test_empty_predictions_score_zero():
    scenes = make_scenes(3)
    for _, prediction in scenes:
        prediction["panoptic_pred"] = np.zeros_like(prediction["panoptic_pred"])
    result = evaluate(scenes)
    assert result["pq"] == result["ap"] == 0 and result["mean_iou"] > 0


def test_empty_ground_truth_and_no_images():
    scenes = [(np.zeros_like(truth), prediction) for truth, prediction in make_scenes(2)]
    result = evaluate(scenes)
    assert (result["pq"], result["mean_iou"], result["ap"]) == (None, None, None)
    assert evaluate([])["pq"] is None


def test_wrong_size_and_unknown_label_are_named():
    (truth, prediction), *_ = make_scenes(1)
    with pytest.raises(EvaluationError, match=r"image0: panoptic_pred has size 40 x 56, but the ground truth has 39 x 56"):
        evaluate([(truth[1:], prediction)])
    with pytest.raises(EvaluationError, match="image0: the prediction has label 5120, class 20"):
        evaluate([(truth, {**prediction, "panoptic_pred": np.full_like(truth, 5120)})])


def test_cityscapes_coding():
    """There, class 0 exists and void is 255000."""
    from protos import descriptions

    truth = np.full([8, 8], 255000, np.int32)
    truth[:4] = 0
    truth[4:6] = 11001
    prediction = {"panoptic_pred": truth.copy(), "semantic_pred": np.where(truth == 255000, 3, truth // 1000)}
    prediction |= {k: np.ones(truth.shape) for k in ("semantic_scores", "instance_scores")}
    result = evaluate([(truth, prediction)], descriptions.load("cityscapes_panoptic"))
    assert [result[k] for k in ("pq", "pq_things", "pq_stuff", "mean_iou")] == [100] * 4
    assert result["ap"] == pytest.approx(100)
    assert [n for n, q in result["per_class"].items() if q["tp"]] == ["road", "person"]

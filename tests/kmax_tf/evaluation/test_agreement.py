"""The metrics of 300 random pairs of maps against NumPy and pycocotools, in one piece and merged from parts."""

import collections
import json
import pickle

import numpy as np
import pytest
from panoptic_scenes import INFO, disturb, random_scene
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kmax_tf.evaluation.evaluator import PanopticEvaluator
from protos import evaluator_pb2

OPTIONS = evaluator_pb2.EvaluatorOptions(detailed_ap_metrics=True, boundary_pq=True)
THINGS = (1, 2, 3)


def make_pairs(count=300):
    """Random scenes with disturbed predictions; every tenth one has an empty or void map, or an IoU of exactly one half."""
    rng = np.random.default_rng(17)
    pairs = []
    for number in range(count):
        truth = random_scene(rng, int(rng.integers(30, 60)), int(rng.integers(30, 80)))
        prediction = disturb(rng, truth)
        if number % 10 == 0:
            truth, prediction = halves(rng, truth, number // 10 % 5, prediction)
        scores = {key: rng.random(truth.shape, np.float32) for key in ("semantic_scores", "instance_scores")}
        pairs.append((truth, {"panoptic_pred": prediction, "semantic_pred": prediction // 256, **scores}))
    return pairs


def halves(rng, truth, kind, prediction):
    empty = np.zeros_like(truth)
    if kind == 0:
        return truth, empty
    if kind == 1:
        return empty, prediction
    if kind == 2:
        return empty, empty
    class_id = int(rng.integers(1, 7))
    label = class_id * 256 + (5 if class_id in THINGS else 0)
    height = truth.shape[0] // 2
    truth, prediction = np.zeros_like(truth), np.zeros_like(truth)
    truth[: 2 * height], prediction[:height] = label, label
    prediction[height, : kind - 3] = label  # one pixel more than one half in the last kind
    return truth, prediction


def expected_quality(pairs):
    """True and false positives, false negatives and sums of IoU by class: masks of all pairs of segments, one by one."""
    counts = collections.defaultdict(lambda: [0, 0, 0, 0.0])
    exact_halves = 0
    for truth, maps in pairs:
        prediction = maps["panoptic_pred"]
        void = truth < 256
        true = [(i // 256, i // 256 in THINGS and i % 256 == 0, truth == i) for i in np.unique(truth) if i >= 256]
        predicted = [(i // 256, prediction == i) for i in np.unique(prediction) if i >= 256]
        missed, wrong = {i for i, t in enumerate(true) if not t[1]}, set(range(len(predicted)))
        for i, (class_id, crowd, a) in enumerate(true):
            for j, (other, b) in enumerate(predicted):
                if crowd or class_id != other:
                    continue
                iou = np.count_nonzero(a & b) / np.count_nonzero((a | b) & ~(void & b))
                exact_halves += iou == 0.5
                if iou > 0.5:
                    counts[class_id][0] += 1
                    counts[class_id][3] += iou
                    missed.discard(i)
                    wrong.discard(j)
        for i in missed:
            counts[true[i][0]][2] += 1
        for j in wrong:
            class_id, b = predicted[j]
            ignored = void | np.any([np.zeros_like(b), *(a for c, crowd, a in true if crowd and c == class_id)], axis=0)
            counts[class_id][1] += np.count_nonzero(b & ignored) <= np.count_nonzero(b) / 2
    assert exact_halves >= 5
    return counts


def expected_ap(pairs):
    """The twelve numbers of pycocotools for masks of thing segments."""
    truths, detections = [], []
    for image_id, (truth, maps) in enumerate(pairs):
        for target, labels in ((truths, truth), (detections, maps["panoptic_pred"])):
            for label in np.unique(labels):
                if label // 256 not in THINGS:
                    continue
                mask = labels == label
                code = rle.encode(np.asfortranarray(mask.astype("u1")))
                entry = {"image_id": image_id, "category_id": int(label // 256), "segmentation": code, "id": len(target) + 1}
                if target is truths:
                    entry |= {"iscrowd": int(label % 256 == 0), "area": int(mask.sum()), "bbox": [0, 0, 1, 1]}
                else:
                    entry["score"] = maps["semantic_scores"][mask].mean(dtype=float) * maps["instance_scores"][mask].mean(
                        dtype=float
                    )
                target.append(entry)
    coco = COCO()
    coco.dataset = {"annotations": truths}
    coco.dataset["images"] = [{"id": i, "height": t.shape[0], "width": t.shape[1]} for i, (t, _) in enumerate(pairs)]
    coco.dataset["categories"] = [{"id": i} for i in THINGS]
    coco.createIndex()
    reference = COCOeval(coco, coco.loadRes(detections), "segm")
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    return reference.stats


@pytest.fixture(scope="module")
def pairs():
    return make_pairs()


def evaluate(numbered_pairs):
    evaluator = PanopticEvaluator(INFO, OPTIONS)
    for number, (truth, maps) in numbered_pairs:
        evaluator.update(f"{number:03d}", maps, truth)
    return evaluator


@pytest.fixture(scope="module")
def result(pairs):
    return evaluate(enumerate(pairs)).result()


def test_quality_equals_numpy(pairs, result):
    quality = {}
    for class_id, (tp, fp, fn, iou) in expected_quality(pairs).items():
        found = result["per_class"][INFO.by_id()[class_id].name]
        assert (found["tp"], found["fp"], found["fn"]) == (tp, fp, fn) and min(tp, fp, fn) > 0
        size = tp + fp / 2 + fn / 2
        quality[class_id] = 100 * iou / size, 100 * iou / tp, 100 * tp / size
        assert [found[key] for key in ("pq", "sq", "rq")] == pytest.approx(quality[class_id], abs=1e-9)
    means = np.mean(list(quality.values()), axis=0)
    assert [result[key] for key in ("pq", "sq", "rq")] == pytest.approx(means.tolist(), abs=1e-9)
    for key, kind in (("pq_things", THINGS), ("pq_stuff", (4, 5, 6))):
        assert result[key] == pytest.approx(np.mean([quality[i][0] for i in kind]), abs=1e-9)


def test_average_precision_equals_pycocotools(pairs, result):
    found = {key: value for key, value in result.items() if key.startswith(("ap", "ar_"))}
    assert len(found) == 12 and 5 < found["ap"] < 95
    for (name, value), expected in zip(found.items(), expected_ap(pairs), strict=True):
        assert value == (None if expected < 0 else pytest.approx(100 * expected, abs=1e-9)), name


def test_parts_merge_exactly(pairs, result):
    """Whatever part an image is in and whatever order parts are merged in, as objects that crossed processes."""
    order = np.random.default_rng(2).permutation(len(pairs))
    parts = [evaluate((i, pairs[i]) for i in part) for part in (order[:140], order[140:141], order[141:])]
    merged = pickle.loads(pickle.dumps(parts.pop()))
    for part in parts:
        merged.merge(pickle.loads(pickle.dumps(part)))
    assert json.dumps(merged.result()) == json.dumps(result)


def test_memory_does_not_grow_with_images(pairs):
    """Images add the run-length codes of their things, and 60 bytes for each thing and image."""
    small, large = (len(pickle.dumps(evaluate(enumerate((pairs * n)[: 100 * n])))) for n in (1, 5))
    codes = sum(
        len(rle.encode(np.asfortranarray((labels == i).astype("u1")))["counts"]) + 60
        for truth, maps in (pairs * 2)[100:500]
        for labels in (truth, maps["panoptic_pred"])
        for i in np.unique(labels)
        if i // 256 in THINGS
    )
    assert large - small < codes + 400 * 60

"""Area, bounding box and score of segments against their definition, pixel by pixel."""

import numpy as np
import pytest

from kmax_tf.coco_panoptic.segment_values import segment_values
from kmax_tf.evaluation.segments import EvaluationError
from protos import descriptions

SCENES = descriptions.load("scenes_panoptic")
DISC, SKY = (SCENES.by_category()[category].id * SCENES.label_divisor for category in (1, 101))


@pytest.mark.parametrize(("shape", "seed"), [((13, 17), 0), ((1, 40), 1), ((40, 1), 2), ((1, 1), 3)])
def test_values_follow_their_definition(shape, seed):
    rng = np.random.default_rng(seed)
    # Columns of noise between flat rows: runs end at the right border and go on at the left one.
    panoptic = rng.choice([DISC + 1, DISC + 2, SKY, SCENES.void_label], shape).astype(np.int32)
    panoptic[::3] = SKY
    scores = {name: rng.random(shape, np.float32) for name in ("semantic_scores", "instance_scores")}
    found = segment_values(panoptic, SCENES, "a.jpg", scores)
    assert list(found) == sorted(set(panoptic.ravel().tolist()) - {SCENES.void_label})
    for label, values in found.items():
        pixels = [(y, x) for y in range(shape[0]) for x in range(shape[1]) if panoptic[y, x] == label]
        rows, columns = zip(*pixels)
        means = [sum(float(value[at]) for at in pixels) / len(pixels) for value in scores.values()]
        assert (values.class_id, values.area) == (label // SCENES.label_divisor, len(pixels))
        width, height = max(columns) - min(columns) + 1, max(rows) - min(rows) + 1
        assert values.bbox == (min(columns), min(rows), width, height)
        assert values.score == pytest.approx(means[0] * means[1], abs=1e-6)


def test_maps_without_scores_or_segments():
    void = np.full([4, 5], SCENES.void_label, np.int32)
    assert segment_values(void, SCENES, "a.jpg") == {}
    assert segment_values(void[:0], SCENES, "a.jpg") == {}
    void[2, 3] = SKY
    (values,) = segment_values(void, SCENES, "a.jpg").values()
    assert (values.area, values.bbox, values.score) == (1, (3, 2, 1, 1), None)


def test_unknown_labels_are_named():
    with pytest.raises(EvaluationError, match="^a.jpg: the prediction has label"):
        segment_values(np.full([2, 2], 10**6, np.int32), SCENES, "a.jpg")

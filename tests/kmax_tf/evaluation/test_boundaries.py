"""Boundary PQ against erosions with scipy, and by hand."""

import numpy as np
import pytest
from panoptic_scenes import INFO, disturb, random_scene
from scipy import ndimage

from kmax_tf.evaluation.boundaries import boundary_pixels, boundary_width
from kmax_tf.evaluation.panoptic_quality import PanopticQuality
from kmax_tf.evaluation.segment_matching import LabelPairs
from kmax_tf.evaluation.segments import decode_segments


def inner_boundary(mask, width):
    """Pixels that repeated erosions of a mask remove; outside the map, nothing belongs to the mask."""
    square = np.ones((3, 3), bool)
    return mask & ~ndimage.binary_erosion(mask, square, iterations=width)


def score(*scenes):
    quality = PanopticQuality(INFO.classes, boundaries=True)
    for truth, prediction in scenes:
        true, predicted = (decode_segments(m, INFO, "image", crowds=m is truth) for m in (truth, prediction))
        quality.add(LabelPairs(truth, true, prediction, predicted))
    return quality.result()


@pytest.mark.parametrize(("height", "width", "pixels"), [(480, 640, 16), (1024, 2048, 46), (20, 20, 1), (1, 1, 1)])
def test_width_is_two_percent_of_the_diagonal(height, width, pixels):
    assert boundary_width(height, width) == pixels


@pytest.mark.parametrize("width", [1, 2, 5, 30])
def test_boundary_pixels_are_those_that_erosion_removes(width):
    labels = random_scene(np.random.default_rng(width))
    found = boundary_pixels(labels, width)
    for label in np.unique(labels):
        np.testing.assert_array_equal(found & (labels == label), inner_boundary(labels == label, width))


def test_random_scenes_follow_the_formula():
    """Boundary IoU of each pair of segments from boolean masks; unmatched segments are excused as in PQ."""
    rng = np.random.default_rng(4)
    scenes = [(truth := random_scene(rng), disturb(rng, truth)) for _ in range(30)]
    result = score(*scenes)
    things = range(1, 4)
    counts = {c.id: [0, 0, 0, 0.0] for c in INFO.classes}
    for truth, prediction in scenes:
        width, void = boundary_width(*truth.shape), truth == 0
        true, predicted = ({i: m == i for i in np.unique(m) if i >= 256} for m in (truth, prediction))
        crowds = {i for i in true if i // 256 in things and i % 256 == 0}
        hits = set()
        for i, a in true.items():
            for j, b in predicted.items():
                edge_a, edge_b = inner_boundary(a, width), inner_boundary(b, width)
                ious = [(x & y).sum() / max(((x | y) & ~(void & y)).sum(), 1) for x, y in ((a, b), (edge_a, edge_b))]
                if i // 256 == j // 256 and i not in crowds and min(ious) > 0.5:
                    counts[i // 256][0] += 1
                    counts[i // 256][3] += min(ious)
                    hits |= {("true", i), ("predicted", j)}
        for i in true:
            counts[i // 256][2] += ("true", i) not in hits and i not in crowds
        for j, b in predicted.items():
            ignored = void | (truth == j // 256 * 256 if j // 256 in things else False)
            counts[j // 256][1] += ("predicted", j) not in hits and (b & ignored).sum() <= b.sum() / 2
    for c in INFO.classes:
        tp, fp, fn, iou = counts[c.id]
        assert tp > 0
        assert result["per_class"][c.name]["boundary_pq"] == pytest.approx(100 * iou / (tp + fp / 2 + fn / 2), abs=1e-9)
        assert result["per_class"][c.name]["boundary_rq"] == pytest.approx(100 * tp / (tp + fp / 2 + fn / 2), abs=1e-9)
    assert result["boundary_pq"] < result["pq"] - 1


def test_by_hand():
    """A square of 40 pixels in an image of 100 x 100, whose boundaries are 3 wide; predicted 1 pixel to the right."""
    truth = np.full([100, 100], 4 * 256, np.int32)
    truth[30:70, 30:70] = 257
    prediction = np.full_like(truth, 4 * 256)
    prediction[30:70, 31:71] = 257
    ring = 40**2 - 34**2
    # In 40 rows, 39 columns overlap; 2 of 3 columns overlap at each side, in the 6 rows at top and bottom all 39.
    overlap = 6 * 39 + 34 * 4
    disc = score((truth, prediction))["per_class"]["disc"]
    assert disc["sq"] == pytest.approx(100 * 39 / 41)
    assert disc["boundary_sq"] == pytest.approx(100 * overlap / (2 * ring - overlap))


def test_a_boundary_that_is_far_off_is_missed():
    """Halves of an image of 1000 x 1000, predicted 50 pixels to the left: boundaries of 28 pixels agree at the edge only."""
    truth = np.full([1000, 1000], 4 * 256, np.int32)
    truth[:, 500:] = 257
    prediction = np.full_like(truth, 4 * 256)
    prediction[:, 450:] = 257
    rings = 500 * 1000 - 444 * 944, 550 * 1000 - 494 * 944
    overlap = 56 * 500 + 944 * 28
    assert overlap / (sum(rings) - overlap) < 0.5
    result = score((truth, prediction))
    assert (result["rq"], result["boundary_rq"]) == (100, 0)
    assert result["per_class"]["disc"]["sq"] == pytest.approx(100 * 500 / 550)


def test_boundaries_are_off_unless_asked_for():
    quality = PanopticQuality(INFO.classes)
    assert not any(key.startswith("boundary") for key in quality.result())

"""Mask AP of files against pycocotools, and Boundary PQ of files against the metric itself."""

import json

import numpy as np
import pytest
from panoptic_scenes import INFO, disturb, random_scene
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kmax_tf.coco_panoptic.panoptic_files import read_panoptic_file
from kmax_tf.coco_panoptic.results import PanopticResultsWriter
from kmax_tf.coco_panoptic.values import PanopticFileError
from kmax_tf.evaluation.panoptic_quality import PanopticQuality
from kmax_tf.evaluation.segment_matching import LabelPairs
from kmax_tf.evaluation.segments import decode_segments
from trainer.evaluation import scoring


def without_crowds(labels):
    return np.where((labels < 1024) & (labels % 256 == 0), 0, labels)


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(8)
    return [(truth := without_crowds(random_scene(rng)), without_crowds(disturb(rng, truth))) for _ in range(12)]


@pytest.fixture
def files(scenes, tmp_path):
    """Images 1 to 12; scores with one digit, so that many are equal."""
    rng, paths = np.random.default_rng(9), []
    for name, maps in (("truth", [t for t, _ in scenes]), ("prediction", [p for _, p in scenes])):
        writer = PanopticResultsWriter(tmp_path / f"{name}.json", INFO)
        for number, labels in enumerate(maps, 1):
            writer.add(f"{number}.jpg", labels)
        paths.append(writer.finish())
    content = json.loads(paths[1].read_text())
    for annotation in content["annotations"]:
        for segment in annotation["segments_info"]:
            segment["score"] = round(float(rng.random()), 1)
    paths[1].write_text(json.dumps(content))
    return paths


def test_mask_ap_equals_pycocotools_with_equal_scores(files):
    truth, prediction = (read_panoptic_file(path) for path in files)
    things = [c.category_id for c in INFO.classes if c.is_thing]
    annotations, detections = (
        [
            {
                "id": number,
                "image_id": image_id,
                "category_id": record.category_id,
                "segmentation": rle.encode(np.asfortranarray(file.read_ids(image_id) == segment_id, np.uint8)),
                "area": int((file.read_ids(image_id) == segment_id).sum()),
                "iscrowd": 0,
                "score": record.score,
            }
            for image_id, segments in file.segments.items()
            for number, (segment_id, record) in enumerate(segments.items(), 1000 * image_id)
            if record.category_id in things
        ]
        for file in (truth, prediction)
    )
    coco = COCO()
    coco.dataset = {"images": [{"id": i, "height": 40, "width": 56} for i in truth.segments]}
    coco.dataset["annotations"] = annotations
    coco.dataset["categories"] = [{"id": i} for i in things]
    coco.createIndex()
    reference = COCOeval(coco, coco.loadRes(detections), "segm")
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    result = scoring.evaluate(truth, prediction, average_precision=True)
    found = [value for key, value in result.items() if key.startswith(("ap", "ar_"))]
    assert found == [None if x < 0 else pytest.approx(100 * x, abs=1e-9) for x in reference.stats] and 5 < found[0] < 95


def test_things_without_scores_are_named(files):
    truth = read_panoptic_file(files[0])
    with pytest.raises(PanopticFileError, match="truth.json: image 1: segment [0-9]+ has no score, which AP .--mask_ap. needs"):
        scoring.evaluate(truth, truth, average_precision=True)


def test_boundaries_of_files(scenes, files):
    quality = PanopticQuality(INFO.classes, boundaries=True)
    for truth, prediction in scenes:
        segments = [decode_segments(labels, INFO, "image", crowds=False) for labels in (truth, prediction)]
        quality.add(LabelPairs(truth, segments[0], prediction, segments[1]))
    result = scoring.evaluate(*(read_panoptic_file(path) for path in files), boundaries=True)
    assert result == quality.result()

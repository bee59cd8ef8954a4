"""Predictions as labels: uncertain and small segments become unlabeled."""

import json
import pathlib

import numpy as np
import pytest
from command_line import run_script
from panoptic_fixtures import INFO, read_split, rename_as_coco, segment, write_coco

from data.conversion import conversion_flags, image_conversion
from data.conversion.image_conversion import LabelCounts, Settings
from data.records.schema import DataError
from kmax_tf.coco_panoptic.panoptic_files import parse_segments
from protos.errors import UserError


@pytest.mark.parametrize(("min_score", "min_area"), [(None, 0), (0.5, 0), (0.5, 12), (None, 30), (0.0, 0), (1.0, 0)])
def test_against_a_loop_over_segments(min_score, min_area):
    rng = np.random.default_rng(1)
    ids = rng.integers(1, 11, (20, 12)) * (rng.random((20, 12)) < 0.9)
    categories = (17, 17, 18, 119, 17, 149, 18, 17, 18, 17)
    scores = (0.5, 0.2, 0.9, 0.49999, 0.7, 1.0, 0.5, 0.99, 0.1, 0.6)
    segments = [
        dict(segment(i, c, int((ids == i).sum())), score=s) for i, (c, s) in enumerate(zip(categories, scores, strict=True), 1)
    ]
    expected, seen, dropped = np.zeros(ids.shape, int), {1: 0, 2: 0}, 0
    for entry in segments:
        mask = ids == entry["id"]
        if entry["score"] < (min_score or 0) or mask.sum() < min_area:
            dropped += 1
            continue
        class_id = {17: 1, 18: 2, 119: 3, 149: 4}[entry["category_id"]]
        if class_id in seen:
            seen[class_id] += 1
        expected[mask] = class_id * 256 + seen.get(class_id, 0)
    settings = Settings(INFO, min_score=min_score, min_area=min_area)
    parsed = parse_segments(segments, "a.png").values()
    panoptic, counts = image_conversion.panoptic_map(ids, parsed, settings, where="a.png")
    np.testing.assert_array_equal(panoptic, expected)
    assert (counts.dropped, sum(counts.segments.values())) == (dropped, 10 - dropped)
    assert counts.unlabeled == (expected == 0).sum()


def test_the_summary_names_the_flags(tmp_path):
    counts = LabelCounts(images=3, pixels=100, dropped=4, left_out=2)
    settings = Settings(INFO, min_score=0.5, min_area=30)
    text = conversion_flags.summary("val", counts, tmp_path, settings)
    assert (
        "images that were left out because they have no segment that passes --min_score=0.5 and --min_area=30, or only crowds "
        "and unlabeled pixels: 2" in text
    )
    assert "segments of these images that were dropped by --min_score=0.5 and --min_area=30: 4" in text


def _write(root, scores):
    """Scene i has segments of all scores[i] (one number each); None: no score."""
    path = write_coco(root, len(scores))
    content = json.loads(path.read_text())
    for annotation, score in zip(content["annotations"], scores, strict=True):
        for entry in annotation["segments_info"]:
            entry["iscrowd"] = 0
            if score is not None:
                entry["score"] = score + entry["area"] / 1000
    path.write_text(json.dumps(content))
    rename_as_coco(path)


def _convert(root, script, *flags):
    folders = [f"--images_dir={root}/images", f"--output_dir={root}/out"]
    return run_script(f"data/{script}", *folders, f"--panoptic_json={root}/panoptic.json", "--split=pseudo", *flags, cwd="/")


def test_the_commands_filter_and_leave_out(tmp_path):
    _write(tmp_path, (0.5, 0.1, 0.6))
    for script in ("build_panoptic.py", "build_coco.py"):
        done = _convert(tmp_path, script, "--min_score=0.5", "--min_area=7", f"--output_dir={tmp_path}/{script}")
        assert done.returncode == 0, done.stderr
        assert "pseudo: 2 images" in done.stdout
        assert (
            "images that were left out because they have no segment that passes --min_score=0.5 and --min_area=7" in done.stdout
        )
        # Two cats and a dog of 6 pixels in both images.
        assert "segments of these images that were dropped by --min_score=0.5 and --min_area=7: 6" in done.stdout
        parsed = read_split(tmp_path / script, "pseudo")
        assert [example.name for example in parsed] == [b"scene_0", b"scene_2"]
        for example in parsed:
            labels, areas = np.unique(example.panoptic, return_counts=True)
            assert areas[1:].min() >= 7 and areas[0] == 16 + 3 * 6


def test_changed_limits_are_refused(tmp_path):
    _write(tmp_path, (0.5, 0.6))
    assert _convert(tmp_path, "build_panoptic.py", "--min_score=0.5").returncode == 0
    again = _convert(tmp_path, "build_panoptic.py", "--min_score=0.55")
    assert again.returncode == 1
    assert "error: " in again.stderr and "with other options: --min_score (0.5, now 0.55)" in again.stderr.splitlines()[-1]


def test_labels_without_scores_are_refused(tmp_path):
    _write(tmp_path, (0.5, None))
    done = _convert(tmp_path, "build_coco.py", "--min_score=0.5", "--on_bad_example=SKIP")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        f"error: {tmp_path}/panoptic.json: segment 70001 of image scene_1 has no score"
    )
    assert "trainer/predict.py" in done.stderr.splitlines()[-1]
    with pytest.raises(UserError, match="segment 7: score is nan"):
        parse_segments([dict(segment(7, 17, 4), score=float("nan"))], "a.png")
    with pytest.raises(UserError, match="segment 7: score is 1000"):
        parse_segments([dict(segment(7, 17, 4), score=10**400)], "a.png")


def test_a_command_without_splits_is_refused():
    with pytest.raises(DataError, match="--splits is empty: give one or more of train, val"):
        conversion_flags.check_splits([], ("train", "val"))


def test_limits_that_cannot_be_applied():
    with pytest.raises(DataError, match="--min_score is nan"):
        conversion_flags.check_limits(Settings(INFO, min_score=float("nan")), (), pathlib.Path("a.json"))
    with pytest.raises(DataError, match="--min_area=5 requires labels, but these images have none"):
        conversion_flags.check_limits(Settings(INFO, min_area=5), (), None)

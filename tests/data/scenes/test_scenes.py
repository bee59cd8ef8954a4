"""The demo dataset: deterministic, valid, and all its things are visible."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data.conversion import image_conversion, image_lists
from data.scenes import scene_drawing, scene_files
from kmax_tf.coco_panoptic import pngs
from protos import descriptions

_INFO = descriptions.load("scenes_panoptic")


def test_shapes_have_the_area_of_their_formula():
    y, x = np.mgrid[-40:41, -40:41].astype(float)
    areas = {shape: (scene_drawing.signed_distance(shape, y, x, 25.0) <= 0).sum() for shape in ("disc", "box", "triangle")}
    # A triangle whose sides are 15 from its center has the area 3 sqrt(3) 15^2.
    expected = {"disc": np.pi * 25**2, "box": (2 * 0.85 * 25) ** 2, "triangle": 3 * np.sqrt(3) * 15**2}
    for shape, area in areas.items():
        assert area == pytest.approx(expected[shape], rel=0.03)


def test_scenes_contain_the_segments_they_list():
    classes, crowds, unlabeled = set(), 0, 0
    for number in range(30):
        scene = scene_drawing.draw_scene(np.random.default_rng(number), _INFO)
        assert scene.image.shape[:2] == scene.labels.shape
        assert all(112 <= side <= 192 for side in scene.labels.shape)
        assert set(np.unique(scene.labels)) - {0} == {segment.label for segment in scene.segments}
        things = {c.name for c in _INFO.classes if c.is_thing}
        for segment in scene.segments:
            if segment.class_name in things and not segment.is_crowd:
                assert (scene.labels == segment.label).sum() >= 90
            classes.add(segment.class_name)
            crowds += segment.is_crowd
        unlabeled += (scene.labels == 0).any()
    assert classes == {c.name for c in _INFO.classes}
    assert 0 < crowds < 15 and 0 < unlabeled < 25


def test_files_depend_only_on_the_seed(tmp_path):
    for folder, seed, count in (("a", 1, 3), ("b", 1, 4), ("c", 2, 3)):
        scene_files.write_split(tmp_path / folder, "val", count, _INFO, seed=seed)
    images = {f: [(tmp_path / f / "val" / f"val_{i:06d}.jpg").read_bytes() for i in range(3)] for f in "abc"}
    assert images["a"] == images["b"]
    assert all(one != other for one, other in zip(images["a"], images["c"], strict=True))


def test_files_are_valid_coco_panoptic(tmp_path):
    path = scene_files.write_split(tmp_path, "train", 4, _INFO, seed=0)
    content = image_lists.read_panoptic_json(path, tmp_path / "train", path.with_suffix(""))
    assert len(content.images) == 4
    total = image_conversion.LabelCounts()
    for source in content.images:
        total.add(image_conversion.convert_image(source, image_conversion.Settings(_INFO))[1])
    assert total.images == 4 and sum(total.segments.values()) > 12
    for annotation in json.loads(path.read_text())["annotations"]:
        ids = pngs.rgb_to_ids(np.asarray(Image.open(path.with_suffix("") / annotation["file_name"])))
        for entry in annotation["segments_info"]:
            left, top, width, height = entry["bbox"]
            inside = ids[top : top + height, left : left + width] == entry["id"]
            assert inside.sum() == (ids == entry["id"]).sum() == entry["area"]
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_command_does_not_create_a_complete_dataset_again(tmp_path):
    script = pathlib.Path(__file__).resolve().parents[3] / "data" / "build_scenes.py"

    def run(*flags):
        return subprocess.run([sys.executable, script, f"--output_dir={tmp_path}", *flags], capture_output=True, text=True)

    done = run("--num_train=3", "--num_val=2")
    assert done.returncode == 0, done.stderr
    records = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("*.tfrecord")}
    assert sorted(path.name for path in records) == ["train-00000-of-00001.tfrecord", "val-00000-of-00001.tfrecord"]
    again = run("--num_train=3", "--num_val=2")
    assert "is already complete" in again.stdout
    assert records == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("*.tfrecord")}
    other = run("--num_train=4")
    assert other.returncode == 1 and "delete it or choose another --output_dir" in other.stderr

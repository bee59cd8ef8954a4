"""The demo dataset: deterministic, valid, and all its things are visible."""

import json

import numpy as np
import pytest
from command_line import run_script
from PIL import Image

from data.conversion import image_conversion, image_lists
from data.scenes import hard_scenes, scene_drawing, scene_files
from kmax_tf.coco_panoptic import pngs
from protos import descriptions

_INFO = descriptions.load("scenes_panoptic")
_HARD = descriptions.load("scenes_hard_panoptic")


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


def test_outlines_of_hard_scenes_have_the_area_of_their_formula():
    y, x = np.mgrid[-60:61, -60:61].astype(float)
    lens = 50**2 * _lens_of_circles(1.0, 0.75, 0.5)
    expected = {
        "ring": np.pi * (1 - 0.44**2) * 50**2,
        # The integral of r^2 / 2 over the angle, with r = 0.7 + 0.3 cos(5 angle).
        "star": np.pi * (0.7**2 + 0.3**2 / 2) * 50**2,
        "cross": (2 * 2 * 0.66 - 0.66**2) * 50**2,
        "bar": 2 * 0.7 * 50**2,
        "crescent": np.pi * 50**2 - lens,
        "disc": np.pi * 50**2,
    }
    for shape, area in expected.items():
        assert (hard_scenes.outline(shape, y, x, 50.0) <= 0).sum() == pytest.approx(area, rel=0.02), shape


def _lens_of_circles(a: float, b: float, distance: float) -> float:
    """Area that circles of radius a and b share."""
    to_a, to_b = (distance**2 + a**2 - b**2) / (2 * distance), (distance**2 + b**2 - a**2) / (2 * distance)
    return sum(r**2 * np.arccos(d / r) - d * np.sqrt(r**2 - d**2) for r, d in ((a, to_a), (b, to_b)))


def test_hard_scenes_contain_10_to_20_visible_things():
    classes, things, unlabeled = set(), {c.name for c in _HARD.classes if c.is_thing}, 0
    for number in range(20):
        scene = hard_scenes.draw_scene(np.random.default_rng(number), _HARD)
        assert all(144 <= side <= 192 for side in scene.labels.shape)
        assert set(np.unique(scene.labels)) - {0} == {segment.label for segment in scene.segments}
        assert 10 <= sum(segment.class_name in things for segment in scene.segments) <= 20
        for segment in scene.segments:
            assert (scene.labels == segment.label).sum() >= 50 and not segment.is_crowd
            classes.add(segment.class_name)
        unlabeled += (scene.labels == 0).any()
    assert classes == {c.name for c in _HARD.classes}
    assert 0 < unlabeled < 15


def test_files_depend_only_on_the_seed(tmp_path):
    for folder, seed, count in (("a", 1, 3), ("b", 1, 4), ("c", 2, 3)):
        scene_files.write_split(tmp_path / folder, "val", count, _INFO, seed=seed)
    images = {f: [(tmp_path / f / "val" / f"val_{i:06d}.jpg").read_bytes() for i in range(3)] for f in "abc"}
    assert images["a"] == images["b"]
    assert all(one != other for one, other in zip(images["a"], images["c"], strict=True))
    scene_files.write_split(tmp_path / "d", "val", 1, _HARD, seed=1, draw=hard_scenes.draw_scene)
    assert (tmp_path / "d" / "val" / "val_000000.jpg").read_bytes() != images["a"][0]


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
    def run(*flags):
        return run_script("data/build_scenes.py", f"--output_dir={tmp_path}", *flags)

    done = run("--num_train=3", "--num_val=2")
    assert done.returncode == 0, done.stderr
    records = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("*.tfrecord")}
    assert sorted(path.name for path in records) == ["train-00000-of-00001.tfrecord", "val-00000-of-00001.tfrecord"]
    again = run("--num_train=3", "--num_val=2")
    assert "is already complete" in again.stdout
    assert records == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("*.tfrecord")}
    other = run("--num_train=3", "--num_val=2", "--hard")
    assert other.returncode == 1 and "delete it or choose another --output_dir" in other.stderr
    for option, shown in (
        ("--label_format=raw", "'label_format': 'raw'"),
        ("--num_shards=2", "'num_shards': 2"),
        ("--notreat_crowd_as_ignore", "'treat_crowd_as_ignore': False"),
    ):
        other = run("--num_train=3", "--num_val=2", option)
        assert other.returncode == 1 and shown in other.stderr.splitlines()[-1]
    (tmp_path / "scenes.json").write_text("")
    damaged = run("--num_train=3", "--num_val=2")
    assert damaged.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/scenes.json is damaged")

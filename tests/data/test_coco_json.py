"""Annotation files: order, pairing and errors."""

import json

import pytest
from panoptic_fixtures import write_coco

from data import coco_json
from data.records import DataError


def _read(root):
    return coco_json.read_panoptic_json(root / "panoptic.json", root / "images", root / "panoptic")


def test_images_are_sorted_and_paired(tmp_path):
    path = write_coco(tmp_path)
    content = json.loads(path.read_text())
    content["images"].reverse()
    path.write_text(json.dumps(content))
    read = _read(tmp_path)
    assert [image.name for image in read.images] == ["scene_0", "scene_1", "scene_2"]
    assert [image.segments[0]["id"] for image in read.images] == [70_000, 70_001, 70_002]
    assert read.images[1].label_path == tmp_path / "panoptic" / "scene_1.png"
    assert read.most_instances() == 2


def test_images_without_labels(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "images" / "notes.txt").write_text("")
    listed = coco_json.list_images(tmp_path / "images")
    assert [(image.name, image.label_path) for image in listed] == [("scene_0", None), ("scene_1", None), ("scene_2", None)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"].pop(), "image scene_2.png \\(id 102\\) has no annotation"),
        (lambda c: c["annotations"].append(c["annotations"][0]), "image_id 100 has more than one annotation"),
        (lambda c: c.pop("categories"), "key 'categories' is missing"),
        (lambda c: c["images"].clear(), "holds no images"),
        (lambda c: c["images"].append(dict(c["images"][0], file_name="other/scene_0.jpg")), "for example 'scene_0'"),
    ],
)
def test_errors_name_the_file(tmp_path, change, message):
    path = write_coco(tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"panoptic.json.*{message}"):
        _read(tmp_path)


def test_missing_files(tmp_path):
    path = write_coco(tmp_path)
    with pytest.raises(DataError, match="gone is not a directory: it should hold the panoptic PNGs"):
        coco_json.read_panoptic_json(path, tmp_path / "images", tmp_path / "gone")
    with pytest.raises(DataError, match="gone.json does not exist"):
        coco_json.read_panoptic_json(tmp_path / "gone.json", tmp_path / "images", tmp_path / "panoptic")
    path.write_text("{")
    with pytest.raises(DataError, match="panoptic.json is not valid JSON"):
        _read(tmp_path)

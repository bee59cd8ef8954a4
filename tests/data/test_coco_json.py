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
    assert {image.size for image in read.images} == {(12, 16)}
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
        (lambda c: c["categories"][1].pop("name"), "category 18: key 'name' is missing"),
        (lambda c: c["categories"][1].update(id="18"), "category '18': id is '18', not a whole number"),
        (lambda c: c["categories"][1].update(isthing=None), "category 18: isthing is None, not 0 or 1"),
        (lambda c: c["categories"][1].update(id=17), "category 17 is listed twice"),
        (lambda c: c["images"][1].update(id=100), "two images have id 100, scene_0.png and scene_1.png"),
        (lambda c: c["images"][1].update(id=None), "images.1.: id is None"),
        (lambda c: c["images"][1].update(id=[1]), "images.1.: id is .1."),
        (lambda c: c["images"][1].update(file_name=7), "images.1.: file_name is 7"),
        (lambda c: c["images"][1].update(width="16"), "image scene_1.png: width is '16', not a number of pixels"),
        (lambda c: c["annotations"][1].pop("image_id"), "annotations.1.: key 'image_id' is missing"),
        (lambda c: c["annotations"][1].update(segments_info=None), "scene_1.png .id 101.: segments_info is not a list"),
        (lambda c: c["annotations"][1].update(segments_info=[3]), "scene_1.png .id 101.: segments_info is not a list"),
        (lambda c: c["annotations"][1].pop("segments_info"), "scene_1.png .id 101.: key 'segments_info' is missing"),
        (lambda c: c.update(annotations={}), "annotations is not a list of objects"),
        (lambda c: c["images"].clear(), "holds no images"),
        (lambda c: c["images"][1].update(file_name="other/scene_0.jpg"), "more than one image has the name 'scene_0': rename"),
        (lambda c: c["images"][1].update(file_name="scene\0.jpg"), "images.1.: file_name is 'scene.x00.jpg'"),
        (lambda c: c["annotations"][1].update(file_name="scene\0.png"), "scene_1.png .id 101.: file_name is 'scene.x00.png'"),
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
    path.write_text("null")
    with pytest.raises(DataError, match="panoptic.json holds no JSON object"):
        _read(tmp_path)

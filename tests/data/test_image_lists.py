"""Annotation files: order, pairing and errors."""

import json

import pytest
from panoptic_fixtures import write_coco

from data import image_lists
from protos.errors import UserError


def _read(root):
    return image_lists.read_panoptic_json(root / "panoptic.json", root / "images", root / "panoptic")


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
    listed = image_lists.list_images(tmp_path / "images")
    assert [(image.name, image.label_path) for image in listed] == [("scene_0", None), ("scene_1", None), ("scene_2", None)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"].append(c["annotations"][0]), "image 100 has more than one annotation"),
        (lambda c: c.pop("categories"), "there is no list `categories`"),
        (lambda c: c["categories"][1].pop("name"), "category 18 has no name"),
        (lambda c: c["categories"][1].update(id="dog"), "a category: id is 'dog', not a whole number"),
        (lambda c: c["categories"][1].update(isthing=None), "category 18: isthing is None, not 0 or 1"),
        (lambda c: c["categories"][1].update(id=17), "category 17 is listed twice"),
        (lambda c: c["images"][1].update(id=100), "two images have id 100, scene_0.png and scene_1.png"),
        (lambda c: c["images"][1].update(id=None), "images.1.: id is None"),
        (lambda c: c["images"][1].update(id=[1]), "images.1.: id is .1."),
        (lambda c: c["images"][1].update(file_name=7), "images.1.: file_name is 7"),
        (lambda c: c["images"][1].update(width="wide"), "image scene_1.png: width is 'wide', not a number of pixels"),
        (lambda c: c["annotations"][1].pop("image_id"), "annotations.1. has no image_id"),
        (
            lambda c: c["annotations"][1].update(segments_info=None),
            "101.: segments_info is None, not a list",
        ),
        (
            lambda c: c["annotations"][1].update(segments_info=[3]),
            "101.: segments_info.0. is 3, not an object",
        ),
        (lambda c: c["annotations"][1].pop("segments_info"), "annotations.1. .image_id 101. has no segments_info"),
        (lambda c: c.update(annotations={}), "there is no list `annotations`"),
        (lambda c: c["images"].clear(), "holds no images"),
        (
            lambda c: c["images"][1].update(file_name="./scene_0.jpg"),
            "'scene_0': scene_0.jpg and scene_0.png share",
        ),
        (lambda c: c["images"][1].update(file_name="scene\0.jpg"), "images.1.: file_name is 'scene.x00.jpg'"),
        (lambda c: c["annotations"][1].update(file_name="scene\0.png"), "annotations.1.: file_name is 'scene.x00.png'"),
    ],
)
def test_errors_name_the_file(tmp_path, change, message):
    path = write_coco(tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"panoptic.json.*{message}"):
        _read(tmp_path)


def test_missing_files(tmp_path):
    path = write_coco(tmp_path)
    with pytest.raises(UserError, match="gone is not a directory: it should hold the panoptic PNGs"):
        image_lists.read_panoptic_json(path, tmp_path / "images", tmp_path / "gone")
    with pytest.raises(UserError, match="gone.json: no such file"):
        image_lists.read_panoptic_json(tmp_path / "gone.json", tmp_path / "images", tmp_path / "panoptic")
    path.write_text("{")
    with pytest.raises(UserError, match="panoptic.json: is not valid JSON"):
        _read(tmp_path)
    path.write_text("null")
    with pytest.raises(UserError, match="panoptic.json: is not in COCO's panoptic format"):
        _read(tmp_path)

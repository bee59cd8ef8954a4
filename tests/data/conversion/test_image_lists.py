"""Annotation files: order, pairing and errors."""

import json

import pytest
from panoptic_fixtures import write_coco

from data.conversion import image_lists
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


def test_images_without_labels(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "images" / "notes.txt").write_text("")
    listed = image_lists.list_images(tmp_path / "images")
    assert [(image.name, image.label_path) for image in listed] == [("scene_0", None), ("scene_1", None), ("scene_2", None)]


def test_photographs_of_other_formats(tmp_path):
    for name in ("b.heic", "a.heic", ".DS_Store"):
        (tmp_path / name).write_text("")
    with pytest.raises(
        UserError, match=r"contains no images \(it contains a.heic\): give a folder of images \(jpg, jpeg, png, "
    ):
        image_lists.list_images(tmp_path)


def test_wrong_folders_are_named_by_their_flags(tmp_path):
    path = write_coco(tmp_path)
    (tmp_path / "other").mkdir()
    image_lists.require_files(_read(tmp_path).images, path)
    (tmp_path / "images" / "scene_0.png").unlink()
    image_lists.require_files(_read(tmp_path).images, path)
    for folders, message in (
        (("other", "panoptic"), "none of the 3 images of .*other/scene_0.png: give the folder of the images as --images_dir"),
        (("images", "other"), "none of the 3 label PNGs of .*: give the folder of the label PNGs as --panoptic_dir"),
    ):
        listed = image_lists.read_panoptic_json(path, *(tmp_path / folder for folder in folders))
        with pytest.raises(UserError, match=message):
            image_lists.require_files(listed.images, path)


def test_images_that_the_file_does_not_list_are_counted(tmp_path, capsys):
    path = write_coco(tmp_path)
    for name in ("b.jpg", "a.PNG", "._scene_0.png", "notes.txt"):
        (tmp_path / "images" / name).write_text("")
    image_lists.note_unlisted(_read(tmp_path).images, path)
    expected = f"{path} does not list 2 images, which are left out, such as {tmp_path / 'images' / 'a.PNG'}\n"
    assert capsys.readouterr().err == f"note: {expected}"
    for name in ("b.jpg", "a.PNG"):
        (tmp_path / "images" / name).unlink()
    image_lists.note_unlisted(_read(tmp_path).images, path)
    assert not capsys.readouterr().err


def test_hidden_and_system_files_are_ignored(tmp_path):
    write_coco(tmp_path)
    for name in ("._scene_0.png", ".DS_Store", "Thumbs.db", ".hidden.jpg"):
        (tmp_path / "images" / name).write_text("")
    assert [image.name for image in image_lists.list_images(tmp_path / "images")] == ["scene_0", "scene_1", "scene_2"]


def test_images_with_one_file_name_in_several_folders(tmp_path):
    path = write_coco(tmp_path)
    content = json.loads(path.read_text())
    for number, entry in enumerate(content["images"]):
        entry["file_name"] = f"seq{number}/0000.png"
    path.write_text(json.dumps(content))
    read = _read(tmp_path)
    assert [image.name for image in read.images] == ["seq0/0000", "seq1/0000", "seq2/0000"]
    assert [image.image_path for image in read.images] == [tmp_path / "images" / f"seq{i}" / "0000.png" for i in range(3)]
    assert [image.segments[0]["id"] for image in read.images] == [70_000, 70_001, 70_002]


def test_annotations_without_an_image_are_reported(tmp_path, capsys):
    path = write_coco(tmp_path, 4)
    content = json.loads(path.read_text())
    del content["images"][:2]
    path.write_text(json.dumps(content))
    assert [image.name for image in _read(tmp_path).images] == ["scene_2", "scene_3"]
    output = capsys.readouterr().err
    assert output.startswith("warning: ") and output.count("\n") == 1
    assert "annotations that belong to no image of the file are ignored: 2 of 4, first: image_id 100 (scene_0.png)" in output


def test_ids_of_different_types_match(tmp_path):
    path = write_coco(tmp_path)
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
        for entry in annotation["segments_info"]:
            entry["category_id"] = str(entry["category_id"])
    content["categories"][0]["id"] = "17"
    path.write_text(json.dumps(content))
    read = _read(tmp_path)
    assert [image.segments[0]["id"] for image in read.images] == [70_000, 70_001, 70_002]


def test_images_without_annotation_have_a_problem(tmp_path):
    path = write_coco(tmp_path)
    content = json.loads(path.read_text())
    del content["annotations"][1:]
    path.write_text(json.dumps(content))
    problems = [image.problem for image in _read(tmp_path).images]
    assert problems[0] == "" and [problem.startswith("has no annotation (id 10") for problem in problems] == [False, True, True]


def test_annotations_alone(tmp_path):
    """Like DeepLab2's reader of COCO: images are JPEGs with the names of the PNGs."""
    path = write_coco(tmp_path)
    path.write_text(json.dumps({"annotations": json.loads(path.read_text())["annotations"]}))
    read = image_lists.read_panoptic_json(path, tmp_path / "images", tmp_path / "panoptic", annotations_alone=True)
    assert [image.image_path for image in read.images] == [tmp_path / "images" / f"scene_{i}.jpg" for i in range(3)]
    assert [image.label_path for image in read.images] == [tmp_path / "panoptic" / f"scene_{i}.png" for i in range(3)]
    assert read.categories == ()
    with pytest.raises(UserError, match="there is no list `categories`"):
        _read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["annotations"].append(c["annotations"][0]),
            "two annotations have image_id 100, scene_0.png and scene_0.png",
        ),
        (lambda c: c.pop("categories"), "there is no list `categories`"),
        (lambda c: c["categories"][1].pop("name"), "category 18 has no name"),
        (lambda c: c["categories"][1].update(id="dog"), "a category: id is 'dog', not an integer"),
        (lambda c: c["categories"][1].update(isthing=None), "category 18: isthing is None, not 0 or 1"),
        (lambda c: c["categories"][1].update(id=17), "category 17 is listed twice"),
        (lambda c: c["categories"][1].update(id=1 << 31), "a category: id is 2147483648, not an integer of 32 bits"),
        (lambda c: c["categories"][1].update(name=""), "category 18: name is '', not a name"),
        (lambda c: c["categories"][1].update(name="\ud800"), "category 18: name is .*, not a name in valid Unicode"),
        (
            lambda c: c["images"][1].update(id=100),
            "two images have id 100, scene_0.png and scene_1.png: remove one or correct its id",
        ),
        (lambda c: c["images"][1].update(id=None), "images.1.: id is None"),
        (lambda c: c["images"][1].update(id=[1]), "images.1.: id is .1."),
        (lambda c: c["images"][1].update(file_name=7), "images.1.: file_name is 7"),
        (lambda c: c["images"][1].update(width="wide"), "images.1. .scene_1.png.: width is 'wide', not a number of pixels"),
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
        (
            lambda c: c.update(annotations=[{"id": 1, "image_id": 100, "segmentation": []}]),
            "is in COCO's instance format .*--instances_json=FILE converts it",
        ),
        (lambda c: c.update(annotations={}), "there is no list `annotations`"),
        (lambda c: c["images"].clear(), "contains no images"),
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
    with pytest.raises(UserError, match="gone is not a directory: it must contain the panoptic PNGs"):
        image_lists.read_panoptic_json(path, tmp_path / "images", tmp_path / "gone")
    with pytest.raises(UserError, match="gone.json: no such file"):
        image_lists.read_panoptic_json(tmp_path / "gone.json", tmp_path / "images", tmp_path / "panoptic")
    path.write_text("{")
    with pytest.raises(UserError, match="panoptic.json: not valid JSON"):
        _read(tmp_path)
    path.write_text("null")
    with pytest.raises(UserError, match="panoptic.json: there is no list `annotations`: add it, or create the file again"):
        _read(tmp_path)

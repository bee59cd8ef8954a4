"""Names and ids of images, including those of benchmarks."""

import os
import pathlib

import pytest

from kmax_tf.coco_panoptic import names


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("000000000139.jpg", "000000000139"),
        ("seq0/0000.jpg", "seq0/0000"),
        ("./a//b.c.png", "a/b.c"),
        ("/data/x.jpg", "data/x"),
        ("a/../b.jpg", "b"),
        ("../../b.jpg", "b"),
        ("no_extension", "no_extension"),
    ],
)
def test_the_name_is_the_relative_path_without_extension(file_name, name):
    assert names.image_name(file_name) == name


# File names in the downloads of Cityscapes and in the JSON of cityscapesScripts.
@pytest.mark.parametrize(
    "kind", ["leftImg8bit", "gtFine_leftImg8bit", "gtFine_panoptic", "gtFine_instanceIds", "gtCoarse_labelIds"]
)
def test_all_files_of_a_cityscapes_frame_have_its_name(kind):
    assert names.plain_name(f"val/aachen/aachen_000000_000019_{kind}") == "val/aachen/aachen_000000_000019"
    assert names.image_ids([f"aachen_000000_000019_{kind}"]) == {f"aachen_000000_000019_{kind}": "aachen_000000_000019"}


@pytest.mark.parametrize("name", ["aachen_000000_000019", "my_leftImg8bit", "aachen_000000_000019_rightImg8bit", "a_panoptic"])
def test_other_names_do_not_change(name):
    assert names.plain_name(name) == name


def test_ids_are_the_numbers_of_ascii_names():
    ids = {"000000142238": 142238, "0": 0, "a1": "a1", "1.5": "1.5", "-1": "-1", "\u0663": "\u0663", "\u00b2": "\u00b2"}
    ids |= {"9" * 15: 10**15 - 1, "9" * 5000: "9" * 5000}
    assert names.image_ids(ids) == ids


def test_two_images_have_two_ids():
    assert names.image_ids(["12", "012", "0012", "13"]) == {"12": 12, "012": "012", "0012": "0012", "13": 13}
    nested = ["seq0/0000", "seq1/0000", "seq1/0001", "cat"]
    assert names.image_ids(nested) == {
        "seq0/0000": "seq0/0000",
        "seq1/0000": "seq1/0000",
        "seq1/0001": 1,
        "cat": "cat",
    }
    frame = "ulm_000001_000019"
    both = [frame, f"{frame}_leftImg8bit"]
    assert names.image_ids(both) == {name: name for name in both}


def test_names_that_are_not_utf8():
    latin = os.fsdecode(b"caf\xe9.jpg")
    assert not names.is_utf8(latin) and names.is_utf8("café.jpg")
    assert names.shown(latin) == r"caf\xe9.jpg" and names.shown(pathlib.Path("café.jpg")) == "café.jpg"
    assert names.shown("\ud800") == r"\ud800"


def test_names_relative_to_the_common_folder():
    assert names.relative_names(["/a/x.jpg"]) == ["x.jpg"]
    assert names.relative_names(["/a/x.jpg", "/a/../a/y.jpg"]) == ["x.jpg", "y.jpg"]
    assert names.relative_names(["/a/b/x.jpg", "/a/c/d/x.jpg", "/a/y.jpg"]) == ["b/x.jpg", "c/d/x.jpg", "y.jpg"]
    assert names.first_repeated(["b/x.jpg", "x.jpg", "c/y.jpg"]) is None
    assert names.first_repeated(["b/x.jpg", "x.jpg", "b/x.png"]) == (0, 2)

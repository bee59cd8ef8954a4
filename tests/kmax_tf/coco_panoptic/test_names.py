"""Names and ids of images, including those of benchmarks, and pairing by them."""

import os
import pathlib

import pytest

from kmax_tf.coco_panoptic import names
from kmax_tf.coco_panoptic.values import PanopticFileError


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


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([3, 1, "a"], ["a", 1, 7], {1: 1, "a": "a"}),
        ([139, 285], ["000000000139", "285x"], {139: "000000000139"}),
        (["000000000139"], [139], {"000000000139": 139}),
        # Equal ids have priority over equal numbers.
        ([12, "012"], ["012", 12], {12: 12, "012": "012"}),
        # Ambiguous ids are not paired.
        ([12], ["012", "0012"], {}),
        (["ulm_000001_000019"], ["ulm_000001_000019_leftImg8bit"], {"ulm_000001_000019": "ulm_000001_000019_leftImg8bit"}),
        ([], [1], {}),
    ],
)
def test_ids_are_paired_by_value(ours, theirs, expected):
    assert names.pair_ids(ours, theirs) == expected


def _paired(ours, theirs):
    return names.pair_names(ours, theirs, ("truth", "prediction"))


def test_extension_and_folder_are_ignored_if_names_are_unique():
    assert _paired({1: "val/a.jpg", 2: "b.png"}, {"x": "b.jpg", "y": "a.png", "z": "c.png"}) == {1: "y", 2: "x"}


def test_folders_distinguish_equal_paired():
    truth = {1: "seq0/0.jpg", 2: "seq1/0.jpg"}
    assert _paired(truth, {"x": "val/seq1/0.png", "y": "val/seq0/0.png"}) == {1: "y", 2: "x"}
    assert _paired({1: "0.jpg"}, {"x": "a/0.jpg", "y": "b/0.jpg"}) == {}


def test_names_of_cityscapes():
    truth = {7: "aachen_000000_000019_gtFine_leftImg8bit.png", 8: "ulm_000001_000019_gtFine_leftImg8bit.png"}
    found = _paired(truth, {"b": "ulm/ulm_000001_000019_leftImg8bit.png", "a": "aachen/aachen_000000_000019_leftImg8bit.png"})
    assert found == {7: "a", 8: "b"}


@pytest.mark.parametrize(("ours", "theirs", "where"), [("xx", "xy", "truth"), ("xy", "xx", "prediction")])
def test_files_with_the_same_name(ours, theirs, where):
    lists = [{i: f"a/{name}.{'jpg' if i else 'png'}" for i, name in enumerate(letters)} for letters in (ours, theirs)]
    with pytest.raises(PanopticFileError, match=f"{where}: images 0 and 1 have files with the same name, a/x.jpg"):
        _paired(*lists)

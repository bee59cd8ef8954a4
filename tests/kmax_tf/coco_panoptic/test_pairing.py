"""Pairing images by id and by name."""

import pytest

from kmax_tf.coco_panoptic import pairing
from kmax_tf.coco_panoptic.values import PanopticFileError


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
    assert pairing.pair_ids(ours, theirs) == expected


def _names(ours, theirs):
    return pairing.pair_names(ours, theirs, ("truth", "prediction"))


def test_extension_and_folder_are_ignored_if_names_are_unique():
    assert _names({1: "val/a.jpg", 2: "b.png"}, {"x": "b.jpg", "y": "a.png", "z": "c.png"}) == {1: "y", 2: "x"}


def test_folders_distinguish_equal_names():
    truth = {1: "seq0/0.jpg", 2: "seq1/0.jpg"}
    assert _names(truth, {"x": "val/seq1/0.png", "y": "val/seq0/0.png"}) == {1: "y", 2: "x"}
    assert _names({1: "0.jpg"}, {"x": "a/0.jpg", "y": "b/0.jpg"}) == {}


def test_names_of_cityscapes():
    truth = {7: "aachen_000000_000019_gtFine_leftImg8bit.png", 8: "ulm_000001_000019_gtFine_leftImg8bit.png"}
    found = _names(truth, {"b": "ulm/ulm_000001_000019_leftImg8bit.png", "a": "aachen/aachen_000000_000019_leftImg8bit.png"})
    assert found == {7: "a", 8: "b"}


@pytest.mark.parametrize(("ours", "theirs", "where"), [("xx", "xy", "truth"), ("xy", "xx", "prediction")])
def test_files_with_the_same_name(ours, theirs, where):
    lists = [{i: f"a/{name}.{'jpg' if i else 'png'}" for i, name in enumerate(letters)} for letters in (ours, theirs)]
    with pytest.raises(PanopticFileError, match=f"{where}: images 0 and 1 have files with the same name, a/x.jpg"):
        _names(*lists)

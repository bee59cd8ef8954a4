"""Annotation files: ids are matched by value, and unmatched ones are counted."""

import json

import pytest

from kmax_tf.coco_panoptic.panoptic_files import read_annotations
from kmax_tf.coco_panoptic.values import PanopticFileError


def _read(tmp_path, image_ids, annotation_ids, mark=b""):
    content = {
        "images": [{"id": i, "file_name": f"{n}.jpg"} for n, i in enumerate(image_ids)],
        "annotations": [{"image_id": i, "file_name": f"{n}.png", "segments_info": []} for n, i in enumerate(annotation_ids)],
        "categories": [{"id": "17", "name": "cat", "isthing": 1}],
    }
    path = tmp_path / "a.json"
    path.write_bytes(mark + json.dumps(content).encode())
    return read_annotations(path)


@pytest.mark.parametrize("others", [["0", "1"], [0.0, 1.0], ["00", "01"]])
def test_numbers_and_strings_with_the_same_value_match(tmp_path, others):
    for image_ids, annotation_ids in (([1, 0], others), (others[::-1], [0, 1])):
        file = _read(tmp_path, image_ids, annotation_ids, mark=b"\xef\xbb\xbf")
        assert {entry.file_name: entry.png for entry in file.entries} == {"0.jpg": "1.png", "1.jpg": "0.png"}
        assert [category.id for category in file.categories] == [17]


def test_both_types_for_one_value_are_refused(tmp_path):
    with pytest.raises(PanopticFileError, match="a.json: image_id 1 and '1' of annotations are the same value as a number"):
        _read(tmp_path, [1], [1, "1"])
    with pytest.raises(PanopticFileError, match="a.json: id '1' and 1 of images are the same value"):
        _read(tmp_path, ["1", 1], [1])


def test_unmatched_images_and_annotations_are_counted(tmp_path):
    file = _read(tmp_path, [1, 2, 5], [1, 2, 3, 4])
    names = [("0.jpg", "0.png"), ("1.jpg", "1.png"), (None, "2.png"), (None, "3.png"), ("2.jpg", None)]
    assert [(entry.file_name, entry.png) for entry in file.entries] == names
    assert file.note.endswith(
        "a.json: annotations that belong to no image of the file are ignored: 2 of 4, first: image_id 3 (2.png)"
    )
    assert _read(tmp_path, [1, 2], [1, 2]).note == "" and _read(tmp_path, [], [1]).note == ""


def test_no_match_at_all_is_an_error(tmp_path):
    with pytest.raises(
        PanopticFileError, match="none of the 2 annotations belongs to an image.*image_id is 'a', .* image is 1;"
    ):
        _read(tmp_path, [1, 2], ["a", "b"])

"""COCO instance annotations as labels, against masks that are drawn by hand."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from data.conversion import conversion_log, describe, image_conversion, instance_files
from data.records import schema
from protos import descriptions
from protos.errors import UserError

HEIGHT, WIDTH = 8, 10
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 5, "name": "sofa"}]


def _box(top, left, bottom, right):
    """A polygon around whole pixels, and its mask."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return [[left, top, right, top, right, bottom, left, bottom]], mask


def _compressed(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def _runs(mask):
    """Uncompressed run lengths, by columns, starting with zeros."""
    counts, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": [HEIGHT, WIDTH], "counts": counts}


def _entry(number, category, segmentation, **more):
    return {"id": number, "image_id": 1, "category_id": category, "segmentation": segmentation, "iscrowd": 0} | more


def _list(root, annotations, *, file_name="a.jpg", change=lambda content: None, **options):
    (root / "images").mkdir(exist_ok=True)
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(root / "images" / "a.jpg")
    image = {"id": 1, "file_name": file_name, "height": HEIGHT, "width": WIDTH}
    content = {"images": [image], "annotations": annotations, "categories": CATEGORIES}
    change(content)
    (root / "instances.json").write_text(json.dumps(content))
    return instance_files.list_instances(root / "instances.json", root / "images", **options)


def _convert(content, **limits):
    """The panoptic map of the first record, and its counts."""
    info = descriptions.from_text(describe.description_text("pets", content, where=""), "")
    record, counts = image_conversion.convert_image(content.images[0], image_conversion.Settings(info, **limits))
    return schema.decode_record(record).panoptic, counts


def test_compressed_run_lengths_of_noise(tmp_path):
    mask = np.random.default_rng(0).random((HEIGHT, WIDTH)) < np.linspace(0, 1, WIDTH)
    panoptic, _ = _convert(_list(tmp_path, [_entry(1, 3, _compressed(mask))]))
    np.testing.assert_array_equal(panoptic, 257 * mask)


def test_polygons_and_both_kinds_of_run_lengths(tmp_path):
    (polygon, first), (_, second), (_, third) = _box(0, 0, 3, 4), _box(4, 1, 8, 5), _box(2, 6, 7, 10)
    entries = [_entry(1, 3, polygon), _entry(2, 5, _compressed(second)), _entry(3, 3, _runs(third))]
    panoptic, _ = _convert(_list(tmp_path, entries))
    # Categories 3 and 5 are classes 1 and 2, the divisor is 256.
    np.testing.assert_array_equal(panoptic, 257 * first + 513 * second + 258 * third)


@pytest.mark.parametrize("overlaps", ["area", "order"])
def test_overlaps(tmp_path, overlaps):
    (small_polygon, small), (large_polygon, large) = _box(2, 2, 4, 5), _box(1, 1, 7, 6)
    entries = [_entry(1, 3, small_polygon), _entry(2, 3, large_polygon)]
    panoptic, counts = _convert(_list(tmp_path, entries, overlaps=overlaps))
    if overlaps == "area":
        np.testing.assert_array_equal(panoptic, np.where(small, 257, np.where(large, 258, 0)))
    else:
        # The later, larger one covers the first completely.
        np.testing.assert_array_equal(panoptic, 257 * large)
    assert (counts.hidden, counts.segments[1]) == ((0, 2) if overlaps == "area" else (1, 1))


def test_stuff_is_one_segment_behind_things_and_crowds_are_behind_both(tmp_path):
    (left_polygon, left), (right_polygon, right) = _box(3, 0, 8, 2), _box(3, 8, 8, 10)
    (cat_polygon, cat), (_, crowd) = _box(0, 0, 8, 4), _box(0, 0, 8, 10)
    entries = [
        _entry(1, 3, cat_polygon),
        _entry(2, 5, left_polygon),
        _entry(3, 5, right_polygon),
        _entry(4, 3, _compressed(crowd), iscrowd=1),
    ]
    panoptic, counts = _convert(_list(tmp_path, entries, stuff=["sofa"]))
    # The crowd is void. The left part of the sofa is behind the cat.
    assert not (left & ~cat).any() and counts.crowds == 1 and counts.segments == {1: 1, 2: 1}
    np.testing.assert_array_equal(panoptic, np.where(cat, 257, np.where(right, 512, 0)))


def test_other_settings_convert_again(tmp_path):
    states = set()
    for options in ({}, {"overlaps": "order"}, {"rest": "background"}, {"rest": "sofa", "stuff": ["sofa"]}):
        (tmp_path / "instances.json").unlink(missing_ok=True)
        images = _list(tmp_path, [_entry(1, 3, _box(0, 0, 3, 4)[0])], **options).images
        os.utime(tmp_path / "instances.json", (0, 0))
        os.utime(tmp_path / "images" / "a.jpg", (0, 0))
        states.add(conversion_log.state_of(images))
    assert len(states) == 4


def test_annotations_of_other_images_convert_nothing_again(tmp_path):
    states = set()
    for others in ([], [_entry(2, 3, _box(0, 0, 3, 4)[0], image_id=9)]):
        images = _list(tmp_path, [_entry(1, 3, _box(0, 0, 3, 4)[0]), *others]).images
        os.utime(tmp_path / "images" / "a.jpg", (0, 0))
        states.add(conversion_log.state_of(images))
    assert len(states) == 1


@pytest.mark.parametrize("scores", [(0.9, 0.2), (0.2, 0.9)])
def test_uncertain_stuff_is_unlabeled_whatever_its_order(tmp_path, scores):
    boxes = _box(0, 0, 4, 10), _box(4, 0, 8, 10)
    entries = [_entry(k, 5, polygon, score=score) for k, ((polygon, _), score) in enumerate(zip(boxes, scores), 1)]
    panoptic, counts = _convert(_list(tmp_path, entries, stuff=["sofa"], min_score=0.5), min_score=0.5)
    np.testing.assert_array_equal(panoptic, 512 * boxes[scores.index(0.9)][1])
    assert (counts.dropped, counts.segments) == (1, {2: 1})


def test_uncertain_things_cover_no_others_and_are_not_the_rest(tmp_path):
    (front_polygon, front), (back_polygon, back) = _box(2, 2, 4, 8), _box(1, 1, 7, 6)
    entries = [_entry(1, 3, front_polygon, score=0.2), _entry(2, 3, back_polygon, score=0.9)]
    panoptic, counts = _convert(_list(tmp_path, entries, rest="background", min_score=0.5), min_score=0.5)
    np.testing.assert_array_equal(panoptic, np.where(back, 257, np.where(front, 0, 768)))
    assert (counts.dropped, counts.segments) == (1, {1: 1, 3: 1})


@pytest.mark.parametrize("rest", ["background", "sofa"])
def test_the_rest_becomes_one_class_of_stuff(tmp_path, rest):
    (cat_polygon, cat), (sofa_polygon, sofa) = _box(0, 0, 3, 4), _box(4, 4, 8, 8)
    entries = [_entry(1, 3, cat_polygon), _entry(2, 5, sofa_polygon)]
    content = _list(tmp_path, entries, rest=rest, stuff=["sofa"])
    names = ["cat", "sofa"] + ["background"] * (rest == "background")
    assert [(c.name, c.is_thing) for c in content.categories] == [(name, name == "cat") for name in names]
    panoptic, _ = _convert(content)
    np.testing.assert_array_equal(panoptic, np.where(cat, 257, np.where(sofa, 512, 256 * len(names))))


def test_files_below_folders_of_another_disk_and_images_without_annotations(tmp_path):
    for name in (r"data\upload\1\a.jpg", "../../upload/a.jpg", "/somewhere/a.jpg"):
        (image,) = _list(tmp_path, [], file_name=name, rest="background").images
        assert (image.name, image.image_path) == ("a", tmp_path / "images" / "a.jpg")
    panoptic, _ = _convert(_list(tmp_path, [], rest="background"))
    assert (panoptic == 3 * 256).all()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "annotation 7 has no segmentation: boxes are not enough"),
        ([[1, 2, 3, 4]], "annotation 7: a polygon is .1, 2, 3, 4., not a list x, y"),
        ([[1, 2, 3, 4, 5, "6"]], "annotation 7: a polygon is"),
        ("abc", "annotation 7: a polygon is None"),
        ({"size": [3, 3], "counts": [9]}, r"size of its segmentation is .3, 3., not .8, 10."),
        ({"size": [8, 10], "counts": [9]}, "the counts of its segmentation do not add up to 80 pixels"),
        ({"size": [8, 10]}, "counts of its segmentation is None, neither a list nor a string"),
        ({"size": 5, "counts": [80]}, "size of its segmentation is 5, not .8, 10."),
        ([[1, 2, 3, 4, 5, 10**30]], "annotation 7: a polygon is"),
        ([[1, 2, 3, 4, 5, float("nan")]], "annotation 7: a polygon is"),
        ({"size": [8, 10], "counts": "PPPP"}, "the counts of its segmentation do not add up to 80 pixels"),
        ({"size": [8, 10], "counts": "zz"}, "the counts of its segmentation do not add up to 80 pixels"),
    ],
)
def test_masks_that_cannot_be_used(tmp_path, segmentation, message):
    with pytest.raises(UserError, match=f"instances.json: image a.jpg: .*{message}"):
        _convert(_list(tmp_path, [_entry(7, 3, segmentation)]))


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"stuff": ["sofas"]}, None, "--stuff: .*instances.json has no category 'sofas'; did you mean \"sofa\""),
        ({"rest": "cat"}, None, "--rest=cat is a class of things"),
        (
            {},
            lambda c: c["annotations"][0].update(segments_info=[]),
            "is in COCO's panoptic format: give it as --panoptic_json",
        ),
        ({}, lambda c: c["annotations"][0].pop("image_id"), r"annotations.0. has no image_id"),
        ({}, lambda c: c["images"].append(c["images"][0]), "images.1. .a.jpg. has id 1, as an image before it"),
        ({}, lambda c: c["images"][0].pop("height"), r"images.0. .a.jpg. has no height"),
        ({}, lambda c: c["annotations"][0].update(category_id=9), "annotation 1 has category_id 9, which is not in the list"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, options, change, message):
    with pytest.raises(UserError, match=message):
        _convert(_list(tmp_path, [_entry(1, 3, _box(0, 0, 3, 4)[0])], change=change or (lambda c: None), **options))

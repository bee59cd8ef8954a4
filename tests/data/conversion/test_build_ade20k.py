"""ADE20K: both label formats against maps computed from the definition, and bad input."""

import json

import numpy as np
import pytest
from command_line import run_script
from panoptic_fixtures import read_split
from PIL import Image

from data.conversion import ade20k_files, conversion, image_conversion
from data.input import pipeline
from data.records import label_coding, schema
from protos import dataset_pb2, descriptions
from protos.errors import UserError

_INFO = descriptions.load("ade20k_panoptic")
_FOLDERS = {"train": "training", "val": "validation"}
# Class of each of the 100 categories of the instance annotations (ade20k_instance_catid_mapping.txt of Mask2Former).
_CLASS_OF_CATEGORY = [
    int(number)
    for number in """8 9 11 13 15 16 19 20 21 23 24 25 28 31 32 33 34 36 37 38 39 40 42 43 44 45 46 48 50 51 54 56 57 58 59 63
    65 66 67 68 70 71 72 73 74 75 76 77 79 81 82 83 84 86 87 88 89 90 91 93 94 96 98 99 103 104 105 108 109 111 112 113 116 117
    119 120 121 122 124 125 126 127 128 130 131 133 134 135 136 137 138 139 140 143 144 145 147 148 149 150""".split()
]
# A stuff class that is completely covered by an instance.
_HIDDEN = 97
_SIZES = {"ADE_train_00000001": (20, 30), "ADE_train_00000002": (16, 24), "ADE_train_00000003": (12, 12)}


def _scene(name):
    """Semantic map uint8 [h, w] and instance map uint8 [h, w, 3]: blocks with classes and instances of every kind."""
    rng = np.random.default_rng(int(name[-1]))
    height, width = _SIZES[name]
    semantic = np.zeros((height, width), np.uint8)
    instance = np.zeros((height, width, 3), np.uint8)
    for class_id in (3, 1, 13, 150, 4, 13, 60, 1, 8):
        y, x = rng.integers(0, height - 4), rng.integers(0, width - 4)
        semantic[y : y + 6, x : x + 9] = class_id
    for number, category in ((200, 4), (3, 4), (7, 100), (12, 1), (1, 4), (255, 52)):
        y, x = rng.integers(0, height - 4), rng.integers(0, width - 4)
        instance[y : y + 4, x : x + 5] = category, number, rng.integers(256)
    semantic[y, x : x + 2] = _HIDDEN
    # A category without an instance number is not an instance.
    instance[0, :5] = 9, 0, 0
    return semantic, instance


def _expected(name):
    """Stuff of the semantic map under the instances, which are renumbered per class in the order of their numbers."""
    semantic, instance = _scene(name)
    panoptic = np.zeros(semantic.shape, int)
    for class_id in range(1, 151):
        if class_id not in _CLASS_OF_CATEGORY:
            panoptic[semantic == class_id] = 1000 * class_id
    seen = np.zeros(151, int)
    for number in range(1, 256):
        mask = instance[..., 1] == number
        if mask.any():
            class_id = _CLASS_OF_CATEGORY[instance[mask][0, 0] - 1]
            seen[class_id] += 1
            panoptic[mask] = 1000 * class_id + seen[class_id]
    return panoptic


def _write_images(root, split="train"):
    folder = root / "images" / _FOLDERS[split]
    folder.mkdir(parents=True)
    for name, (height, width) in _SIZES.items():
        Image.new("RGB", (width, height), (90, 120, 30)).save(folder / f"{name}.jpg")


def _path(root, kind, name="ADE_train_00000001", split="train"):
    return root / kind / _FOLDERS[split] / f"{name}.png"


def _write_two_files(root, split="train"):
    for name in _SIZES:
        for kind, pixels in zip(("annotations", "annotations_instance"), _scene(name), strict=True):
            path = _path(root, kind, name, split)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def _write_panoptic(root, split="train"):
    """Mask2Former's format: first stuff, with its area before things cover it, then things; category ids from 0, any ids."""
    folder = root / f"ade20k_panoptic_{split}"
    folder.mkdir()
    images, annotations = [], []
    for name, (height, width) in _SIZES.items():
        semantic, instance = _scene(name)
        masks = [(c, semantic == c) for c in range(1, 151) if c not in _CLASS_OF_CATEGORY]
        numbers = [(n, instance[..., 1] == n) for n in range(1, 256)]
        masks += [(_CLASS_OF_CATEGORY[instance[m][0, 0] - 1], m) for _, m in numbers if m.any()]
        ids, segments = np.zeros(semantic.shape, int), []
        for class_id, mask in ((c, m) for c, m in masks if m.any()):
            segment_id = 70_000 * len(segments) % 65_521 + 300 + len(segments)
            ids[mask] = segment_id
            segments.append({"id": segment_id, "category_id": class_id - 1, "area": int(mask.sum()), "iscrowd": 0})
        rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
        Image.fromarray(rgb).save(folder / f"{name}.png")
        images.append({"id": name, "file_name": f"{name}.jpg", "height": height, "width": width})
        annotations.append({"image_id": name, "file_name": f"{name}.png", "segments_info": segments})
    categories = [{"id": i, "name": str(i), "isthing": int(i + 1 in _CLASS_OF_CATEGORY)} for i in range(150)]
    path = root / f"ade20k_panoptic_{split}.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def _sources(root, split="train"):
    return ade20k_files.list_sources(root, split, _INFO)


def _read(folder, split):
    return {example.name.decode(): example.panoptic for example in read_split(folder, split)}


def test_instance_categories_are_the_things_in_order():
    assert _INFO.thing_ids == tuple(_CLASS_OF_CATEGORY)


def test_scenes_contain_the_difficult_cases():
    for name in _SIZES:
        semantic, instance = _scene(name)
        classes, instances = np.unique(_expected(name) // 1000), instance[..., 1] > 0
        assert _HIDDEN in semantic and _HIDDEN not in classes and _HIDDEN not in _CLASS_OF_CATEGORY
        assert (np.isin(semantic, _CLASS_OF_CATEGORY) & ~instances).any()
        assert (np.isin(semantic, (1, 3, 4, 60)) & instances).any()
    assert max(np.unique(_expected(name)[_scene(name)[1][..., 1] > 0] % 1000).max() for name in _SIZES) == 3


@pytest.mark.parametrize("label_format", label_coding.LABEL_FORMATS)
@pytest.mark.parametrize("write_labels", [_write_two_files, _write_panoptic])
def test_both_label_formats_give_the_same_map(tmp_path, write_labels, label_format):
    _write_images(tmp_path)
    write_labels(tmp_path)
    counts = conversion.convert(
        _sources(tmp_path), tmp_path / "out", "train", image_conversion.Settings(_INFO, label_format), num_shards=2
    )
    found = _read(tmp_path / "out", "train")
    expected = {name: _expected(name) for name in _SIZES}
    assert list(found) == list(_SIZES)
    for name, panoptic in found.items():
        np.testing.assert_array_equal(panoptic, expected[name])
    values = np.concatenate([np.unique(panoptic[panoptic > 0]) for panoptic in expected.values()])
    assert {c: n for c, n in counts.segments.items() if n} == dict(zip(*np.unique(values // 1000, return_counts=True)))
    assert counts.unlabeled == sum((panoptic == 0).sum() for panoptic in expected.values())
    assert (counts.images, counts.crowds) == (3, 0)


def test_category_255_is_not_a_class(tmp_path):
    _write_images(tmp_path)
    path = _write_panoptic(tmp_path)
    content = json.loads(path.read_text())
    (segment := content["annotations"][0]["segments_info"][-1])["category_id"] = 255
    path.write_text(json.dumps(content))
    example, _ = image_conversion.convert_image(_sources(tmp_path)[0], image_conversion.Settings(_INFO))
    panoptic = schema.decode_record(example).panoptic
    ids = np.asarray(Image.open(tmp_path / "ade20k_panoptic_train" / "ADE_train_00000001.png")).astype(int)
    removed = ids @ [1, 256, 65536] == segment["id"]
    assert removed.any()
    np.testing.assert_array_equal(panoptic, np.where(removed, 0, _expected("ADE_train_00000001")))


def test_missing_folders_and_files(tmp_path):
    for kind in ("images", "annotations", "annotations_instance"):
        with pytest.raises(UserError, match=f"/{kind}/training is not a directory"):
            _sources(tmp_path)
        if kind == "images":
            _write_images(tmp_path)
        else:
            _path(tmp_path, kind).parent.mkdir(parents=True)
    _write_two_files(tmp_path)
    _path(tmp_path, "annotations_instance").unlink()
    with pytest.raises(
        UserError, match="annotations_instance/training/ADE_train_00000001.png does not exist: .*; 1 of 3 images"
    ):
        conversion.convert(_sources(tmp_path), tmp_path / "out", "train", image_conversion.Settings(_INFO))


def test_panoptic_files_with_other_categories(tmp_path):
    _write_images(tmp_path)
    path = _write_panoptic(tmp_path)
    content = json.loads(path.read_text())
    content["categories"][7]["isthing"] = 0
    path.write_text(json.dumps(content))
    with pytest.raises(
        UserError, match="train.json: category 7 has isthing 0, but 1 in ade20k_panoptic: create the file again"
    ):
        _sources(tmp_path)


def _instance(category, number):
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[3:5], pixels[5:7] = (1, 5, 0), (category, number, 0)
    return pixels


@pytest.mark.parametrize(
    ("kind", "pixels", "message"),
    [
        ("annotations", np.full((20, 30), 151, np.uint8), "contains class 151, but ADE20K has classes 1 .. 150"),
        ("annotations", np.zeros((20, 29), np.uint8), "is 29x20"),
        ("annotations", np.zeros((20, 30, 3), np.uint8), "is a PNG of mode RGB, but the semantic annotations"),
        ("annotations_instance", np.zeros((20, 30), np.uint8), "is a PNG of mode L, but the instance annotations"),
        ("annotations_instance", np.zeros((18, 30, 3), np.uint8), "is 30x18 .width x height., but .*annotations/.* is 30x20"),
        ("annotations_instance", _instance(101, 6), "instance 6 has category 101, but there are categories 1 .. 100"),
        ("annotations_instance", _instance(0, 6), "instance 6 has category 0"),
        ("annotations_instance", _instance(2, 5), "instance 5 has more than one category"),
    ],
)
def test_labels_that_break_the_rules(tmp_path, kind, pixels, message):
    _write_images(tmp_path)
    _write_two_files(tmp_path)
    Image.fromarray(pixels).save(_path(tmp_path, kind))
    with pytest.raises(UserError, match=f"{kind}/training/ADE_train_00000001.png.*{message}"):
        image_conversion.convert_image(_sources(tmp_path)[0], image_conversion.Settings(_INFO))


def test_label_files_with_another_size_than_the_image(tmp_path):
    _write_images(tmp_path)
    _write_two_files(tmp_path)
    for kind, shape in (("annotations", (20, 29)), ("annotations_instance", (20, 29, 3))):
        Image.fromarray(np.zeros(shape, np.uint8)).save(_path(tmp_path, kind))
    with pytest.raises(UserError, match="annotations/training/ADE_train_00000001.png is 29x20.*00000001.jpg is 30x20"):
        image_conversion.convert_image(_sources(tmp_path)[0], image_conversion.Settings(_INFO))


def test_the_command_and_the_pipeline(tmp_path):
    for split in ("train", "val"):
        _write_images(tmp_path, split)
    _write_panoptic(tmp_path)
    _write_two_files(tmp_path, "val")
    flags = [f"--ade20k_root={tmp_path}", f"--output_dir={tmp_path}/out", "--splits=train,val"]
    done = run_script("data/build_ade20k.py", *flags, cwd="/")
    assert done.returncode == 0, done.stderr
    assert f"train: reading labels from {tmp_path}/ade20k_panoptic_train.json" in done.stderr
    assert "val: note: found 3 images, but the official split has 2000" in done.stderr
    for found in (_read(tmp_path / "out", split) for split in ("train", "val")):
        assert all((found[name] == _expected(name)).all() for name in _SIZES)
    options = dataset_pb2.DatasetOptions(file_pattern=[f"{tmp_path}/out/val-*.tfrecord"], crop_size=[33, 33])
    (batch,) = pipeline.evaluation_dataset(options, _INFO, batch_size=3)
    assert [name.decode() for name in batch["image_name"].numpy()] == list(_SIZES)
    for semantic, (name, (height, width)) in zip(batch["semantic_gt"].numpy(), _SIZES.items(), strict=True):
        np.testing.assert_array_equal(semantic[:height, :width], _expected(name) // 1000)

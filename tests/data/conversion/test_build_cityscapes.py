"""Cityscapes: all label formats against maps computed from the label table of cityscapesScripts, and bad input."""

import json

import numpy as np
import pytest
import tensorflow as tf
from command_line import ROOT, run_script
from google.protobuf import text_format
from panoptic_fixtures import read_split
from PIL import Image

from data.conversion import cityscapes_files, conversion, image_conversion
from data.input import pipeline
from data.records import schema
from protos import dataset_pb2, descriptions
from protos.errors import UserError

_GOLDEN = np.load(ROOT / "tests" / "golden" / "cityscapes_panoptic.npz")
_NAMES = [str(name) for name in _GOLDEN["names"]]
_IDS = dict(zip(_NAMES, _GOLDEN["instance_ids"].astype(int), strict=True))
_INFO = descriptions.load("cityscapes_panoptic")
_PANOPTIC = {"label ids": "cityscapes_panoptic_train", "train ids": "cityscapes_panoptic_train_trainId"}


def _write_images(root, split="train"):
    rng = np.random.default_rng(0)
    for name, ids in _IDS.items():
        folder = root / "leftImg8bit" / split / name.split("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*ids.shape, 3), dtype=np.uint8)).save(folder / f"{name}_leftImg8bit.png")


def _label_path(root, name=_NAMES[0], split="train"):
    return root / "gtFine" / split / name.split("_")[0] / f"{name}_gtFine_instanceIds.png"


def _write_instance_ids(root, split="train", **changed):
    for name, ids in (_IDS | changed).items():
        path = _label_path(root, name, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids.astype(np.uint16)).save(path)


def _write_panoptic(root, key, split="train"):
    stem = key.replace("train", split, 1)
    (root / "gtFine" / stem).mkdir(parents=True)
    (root / "gtFine" / f"{stem}.json").write_text(str(_GOLDEN[f"{key}.json"]))
    for name, rgb in zip(_NAMES, _GOLDEN[key], strict=True):
        Image.fromarray(rgb).save(root / "gtFine" / stem / f"{name}_gtFine_panoptic.png")


def _expected(name, *, crowd_as_ignore=True):
    """DeepLab2's map from the published definition of the ids, in the order of np.unique, like createPanopticImgs."""
    table = {int(row[0]): row for row in _GOLDEN["labels"]}
    ids = _IDS[name]
    panoptic = np.full(ids.shape, 255 * 1000)
    seen = {}
    for value in np.unique(ids):
        _, train_id, has_instances, ignored = table[value if value < 1000 else value // 1000][:4]
        if ignored or (has_instances and value < 1000 and crowd_as_ignore):
            continue
        instance = 0
        if has_instances and value >= 1000:
            instance = seen[train_id] = seen.get(train_id, 0) + 1
        panoptic[ids == value] = train_id * 1000 + instance
    return panoptic


def _sources(root, split="train"):
    return cityscapes_files.list_sources(root, split, _INFO)


def _convert(root, **options):
    sources, info = _sources(root)
    counts = conversion.convert(sources, root / "out", "train", image_conversion.Settings(info, **options), num_shards=2)
    return _read(root / "out", "train"), counts


def _read(folder, split):
    return {example.name.decode(): example.panoptic for example in read_split(folder, split)}


def test_classes_agree_with_the_label_table():
    rows = zip(_GOLDEN["labels"].tolist(), _GOLDEN["label_names"].tolist(), strict=True)
    evaluated = {row[1]: (name, row) for row, name in rows if not row[3]}
    assert len(evaluated) == 19
    for entry in _INFO.classes:
        name, (label_id, _, has_instances, _, *color) = evaluated[entry.id]
        assert (entry.name, entry.category_id, entry.is_thing) == (name, label_id, bool(has_instances))
        assert list(entry.color) == color


def test_all_ids_of_the_label_table_are_accepted(tmp_path):
    known = sorted(int(row[0]) for row in _GOLDEN["labels"] if row[0] >= 0)
    _write_images(tmp_path)
    every = np.resize(known, 24 * 40).reshape(24, 40)
    _write_instance_ids(tmp_path, **{_NAMES[0]: every})
    (changed,) = (source for source in _sources(tmp_path)[0] if source.name == _NAMES[0])
    ids, segments = changed.read_label(_INFO)
    evaluated = [int(row[0]) for row in _GOLDEN["labels"] if not row[3]]
    np.testing.assert_array_equal(ids, np.where(np.isin(every, evaluated), every, 0))
    assert [segment.category_id for segment in segments] == sorted(evaluated)


@pytest.mark.parametrize("crowd_as_ignore", [True, False])
@pytest.mark.parametrize("labels", ["instance ids", *_PANOPTIC])
def test_all_label_formats_give_the_same_map(tmp_path, labels, crowd_as_ignore):
    _write_images(tmp_path)
    if labels in _PANOPTIC:
        _write_panoptic(tmp_path, _PANOPTIC[labels])
    else:
        _write_instance_ids(tmp_path)
    found, counts = _convert(tmp_path, treat_crowd_as_ignore=crowd_as_ignore, label_format="raw")
    assert list(found) == sorted(_NAMES)
    for name, panoptic in found.items():
        np.testing.assert_array_equal(panoptic, _expected(name, crowd_as_ignore=crowd_as_ignore))
    assert (counts.images, counts.crowds, counts.pixels) == (3, 2, 3 * 24 * 40)
    assert counts.segments == {0: 1, 2: 1, 7: 1, 8: 1, 9: 1, 10: 1, 11: 2, 12: 1, 13: 2, 14: 1, 15: 1, 16: 1, 17: 1, 18: 1}
    assert counts.unlabeled == sum((_expected(name, crowd_as_ignore=crowd_as_ignore) == 255_000).sum() for name in _NAMES)


def test_train_ids_are_preferred(tmp_path, capsys):
    _write_images(tmp_path)
    for key in _PANOPTIC.values():
        _write_panoptic(tmp_path, key)
    sources, info = _sources(tmp_path)
    assert {source.label_path.parent.name for source in sources} == {"cityscapes_panoptic_train_trainId"}
    assert [c.category_id for c in info.classes] == [c.id for c in info.classes]
    assert "train: reading labels from" in capsys.readouterr().err


def test_a_file_with_the_other_ids_is_refused(tmp_path):
    _write_images(tmp_path)
    _write_panoptic(tmp_path, _PANOPTIC["label ids"])
    path = tmp_path / "gtFine" / "cityscapes_panoptic_train.json"
    path.write_text(str(_GOLDEN[f"{_PANOPTIC['train ids']}.json"]))
    with pytest.raises(UserError, match="train.json: category 0 is not in cityscapes_panoptic: create the file again"):
        _sources(tmp_path)


def test_an_image_without_panoptic_annotation(tmp_path):
    _write_images(tmp_path)
    _write_panoptic(tmp_path, _PANOPTIC["train ids"])
    path = tmp_path / "gtFine" / "cityscapes_panoptic_train_trainId.json"
    content = json.loads(path.read_text())
    content["images"] = [image for image in content["images"] if image["id"] != _NAMES[2]]
    path.write_text(json.dumps(content))
    missing = f"zurich/{_NAMES[2]}_leftImg8bit.png: has no annotation in .*trainId.json.*; 1 of 3 images cannot be converted"
    with pytest.raises(UserError, match=missing):
        _convert(tmp_path)
    sources, info = _sources(tmp_path)
    counts = conversion.convert(sources, tmp_path / "out", "train", image_conversion.Settings(info), skip_bad=True)
    assert (counts.images, len(counts.skipped)) == (2, 1)
    content["images"].clear()
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="trainId.json contains no images"):
        _sources(tmp_path)


def test_hidden_files_are_ignored(tmp_path):
    _write_images(tmp_path)
    _write_instance_ids(tmp_path)
    folder = tmp_path / "leftImg8bit" / "train"
    for name in (f"aachen/._{_NAMES[0]}_leftImg8bit.png", ".trash/old_000000_000019_leftImg8bit.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    assert sorted(source.name for source in _sources(tmp_path)[0]) == sorted(_NAMES)


def test_missing_folders_and_files(tmp_path):
    with pytest.raises(UserError, match="leftImg8bit/train is not a directory"):
        _sources(tmp_path)
    (tmp_path / "leftImg8bit" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="leftImg8bit/train contains no images"):
        _sources(tmp_path)
    _write_images(tmp_path)
    with pytest.raises(UserError, match="gtFine/train is not a directory"):
        _sources(tmp_path)
    _write_instance_ids(tmp_path)
    _label_path(tmp_path).unlink()
    with pytest.raises(
        UserError, match=f"{_NAMES[0]}_gtFine_instanceIds.png does not exist: .*; 1 of 3 images cannot be converted"
    ):
        _convert(tmp_path)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.full((24, 40), 34_001), "id 34001 means label id 34, but Cityscapes has label ids 0 .. 33"),
        (np.full((24, 40), 40), "id 40 means label id 40"),
        (np.full((24, 30), 7), "is 30x24 .width x height., but its image .*_leftImg8bit.png is 40x24"),
        (26_000 + np.arange(1000).reshape(25, 40), "instance 1000 of 'car'.* allows only 999"),
    ],
)
def test_labels_that_break_the_rules(tmp_path, ids, message):
    _write_images(tmp_path)
    _write_instance_ids(tmp_path, **{_NAMES[0]: ids})
    if len(ids) == 25:
        Image.new("RGB", (40, 25)).save(tmp_path / "leftImg8bit" / "train" / "aachen" / f"{_NAMES[0]}_leftImg8bit.png")
    with pytest.raises(UserError, match=f"{_NAMES[0]}_gtFine_instanceIds.png.*{message}"):
        _convert(tmp_path)


def test_labels_with_8_bits(tmp_path):
    _write_images(tmp_path)
    _write_instance_ids(tmp_path)
    Image.new("L", (40, 24)).save(_label_path(tmp_path))
    with pytest.raises(UserError, match="instanceIds.png is a PNG of mode L, but an instanceIds.png has 16 bits"):
        _convert(tmp_path)


def test_the_command_and_the_pipeline(tmp_path):
    for split in ("train", "val", "test"):
        _write_images(tmp_path, split)
    _write_panoptic(tmp_path, _PANOPTIC["train ids"])
    _write_instance_ids(tmp_path, "val")
    flags = [f"--cityscapes_root={tmp_path}", f"--output_dir={tmp_path}/out", "--splits=train,val,test"]
    done = run_script("data/build_cityscapes.py", *flags, cwd="/")
    assert done.returncode == 0, done.stderr
    assert f"train: reading labels from {tmp_path}/gtFine/cityscapes_panoptic_train_trainId.json" in done.stderr
    assert "val: note: found 3 images, but the official split has 500" in done.stderr
    assert done.stdout.count("  16 segments, 2 crowds") == 2
    for split in ("train", "val"):
        found = _read(tmp_path / "out", split)
        assert all((found[name] == _expected(name)).all() for name in _NAMES)
    for split, with_labels in (("val", True), ("test", False)):
        options = text_format.Parse(
            f'file_pattern: "{tmp_path}/out/{split}-*.tfrecord" crop_size: [33, 65] decode_groundtruth_label: {with_labels}',
            dataset_pb2.DatasetOptions(),
        )
        (batch,) = pipeline.evaluation_dataset(options, _INFO, batch_size=3)
        assert [name.decode() for name in batch["image_name"].numpy()] == sorted(_NAMES)
        assert ("semantic_gt" in batch) == with_labels
        (path,) = (tmp_path / "out").glob(f"{split}-*.tfrecord")
        for serialized in tf.data.TFRecordDataset(str(path)):
            assert (schema.LABEL in schema.parse_features(serialized.numpy())) == with_labels
        if with_labels:
            semantic = batch["semantic_gt"].numpy()[:, :24, :40]
            np.testing.assert_array_equal(semantic, [_expected(name) // 1000 for name in sorted(_NAMES)])

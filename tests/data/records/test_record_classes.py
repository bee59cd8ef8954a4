"""Records and the classes that they were created with."""

import dataclasses

import pytest
import tensorflow as tf
from google.protobuf import text_format
from panoptic_fixtures import INFO, write_coco, write_records

from data.conversion import conversion, image_conversion, image_lists
from data.input import pipeline
from data.inspection import scan
from data.records.schema import DataError
from protos import dataset_pb2, descriptions


def _options(folder, pattern="val-*"):
    text = f'dataset: "toy" file_pattern: "{folder}/{pattern}" batch_size: 1 crop_size: [33, 33] max_thing_id: 8'
    return text_format.Parse(text, dataset_pb2.DatasetOptions())


@pytest.fixture
def converted(tmp_path):
    path = write_coco(tmp_path)
    sources = image_lists.read_panoptic_json(path, tmp_path / "images", tmp_path / "panoptic").images
    conversion.convert(sources, tmp_path / "out", "val", image_conversion.Settings(INFO), num_shards=2)
    return tmp_path / "out"


def _open_everything(options, info):
    yield lambda: pipeline.evaluation_dataset(options, info, batch_size=1)
    yield lambda: pipeline.training_dataset(options, info, seed=0, batch_size=1)
    yield lambda: scan.open_section("eval", options, info)


def test_the_classes_are_stored(converted):
    assert descriptions.load(converted / ".conversion" / "val.textproto") == INFO
    for start in _open_everything(_options(converted), INFO):
        start()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "lynx"}, "class 1 lynx .thing. of ours is 1 cat .thing. in toy_panoptic; ours has 4 classes: 1 lynx"),
        ({"is_thing": False}, "class 1 cat .stuff. of ours is 1 cat .thing. in toy_panoptic"),
    ],
)
def test_other_classes_are_refused(converted, changed, message):
    first, *others = INFO.classes
    other = dataclasses.replace(INFO, name="ours", classes=(dataclasses.replace(first, **changed), *others))
    for start in _open_everything(_options(converted), other):
        with pytest.raises(
            DataError, match=f"val-00000-of-00002.tfrecord was created with classes that differ.*ours: {message}"
        ):
            start()


def test_another_encoding_is_refused(converted):
    for change, message in (
        ({"label_divisor": 512}, "divisor is 256 in the records, but 512"),
        ({"ignore_label": 255}, "is 0 in"),
    ):
        with pytest.raises(DataError, match=message):
            pipeline.evaluation_dataset(_options(converted), dataclasses.replace(INFO, **change), batch_size=1)


def test_colors_and_category_ids_may_differ(converted):
    other = dataclasses.replace(
        INFO, classes=tuple(dataclasses.replace(c, color=(0, 0, 0), category_id=c.id) for c in INFO.classes)
    )
    pipeline.evaluation_dataset(_options(converted), other, batch_size=1)


def test_records_without_stored_classes_are_loaded(converted, tmp_path):
    (converted / ".conversion" / "val.textproto").unlink()
    other = dataclasses.replace(INFO, name="other", classes=INFO.classes[:2] + INFO.classes[:0:-1][:2])
    pipeline.evaluation_dataset(_options(converted), other, batch_size=1)
    write_records(tmp_path / "a.tfrecord", 2)
    pipeline.evaluation_dataset(_options(tmp_path, "a.tfrecord"), INFO, batch_size=1)


def test_damaged_classes_are_reported(converted):
    note = converted / ".conversion" / "val.textproto"
    for content in (b"\xff", b"name: 3 3", b""):
        note.write_bytes(content)
        with pytest.raises(DataError, match=r".conversion/val.textproto.*delete it"):
            pipeline.evaluation_dataset(_options(converted), INFO, batch_size=1)


def test_no_pattern_of_records_matches_the_notes(converted):
    for pattern in ("val*", "*val*", "val-*"):
        assert {path.rpartition(".")[2] for path in tf.io.gfile.glob(f"{converted}/{pattern}")} == {"tfrecord"}

"""Which classes occur in training examples, from the records to the warning."""

import logging

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from panoptic_fixtures import INFO, encode

from data.input import pipeline
from data.records import class_counts, schema
from protos import dataset_pb2, descriptions


@pytest.mark.parametrize("name", ["cityscapes_panoptic", "coco_panoptic", "ade20k_panoptic"])
def test_bits_against_sets(name, monkeypatch, caplog):
    info, rng = descriptions.load(name), np.random.default_rng(1)
    monkeypatch.setattr(class_counts, "WATCHED_EXAMPLES", 12)
    pack = tf.function(
        lambda classes: class_counts.class_bits(classes, info), input_signature=[tf.TensorSpec([None], tf.int32)]
    )
    ids = np.array([c.id for c in info.classes])
    examples = [rng.choice([*ids[1:-1], info.ignore_label, 255], rng.integers(0, 9)) for _ in range(12)]
    examples[7] = np.append(examples[7], ids[-1])
    watched = class_counts.MissingClasses(info)
    with caplog.at_level(logging.WARNING, logger="absl"):
        for batch in (examples[:5], examples[5:12]):
            assert not caplog.text
            watched.add(np.stack([pack(classes.astype(np.int32)) for classes in batch]))
    missing = [c.name for c in info.classes if c.id not in np.concatenate(examples)]
    assert info.classes[-1].name not in missing and missing[0] == info.classes[0].name
    expected = f"{len(missing)} of the {len(ids)} classes of {name} occur in none of the first 12 training examples: "
    assert f"{expected}{', '.join(missing)}. " in caplog.text


def test_classes_that_records_lack_are_named_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(class_counts, "WATCHED_EXAMPLES", 12)
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        for number in range(3):
            panoptic = np.full((20, 30), 3 * 256, np.int32)
            panoptic[5:15, 5:15] = 257 if number else 0
            image = encode(np.zeros((20, 30, 3), np.uint8))
            writer.write(schema.build_example(image, "png", f"{number}", 20, 30, panoptic).SerializeToString())
    options = f'file_pattern: "{tmp_path}/*.tfrecord" crop_size: [33, 33] max_thing_id: 40'
    options = text_format.Parse(options, dataset_pb2.DatasetOptions())
    problems = pipeline.input_problems(options)
    batches = problems.batches(pipeline.training_dataset(options, INFO, seed=0, batch_size=4, problems=problems))
    with caplog.at_level(logging.WARNING, logger="absl"):
        next(batches), next(batches)
        assert not caplog.records
        for _ in range(5):
            next(batches)
    (record,) = caplog.records
    expected = "2 of the 4 classes of toy_panoptic occur in none of the first 12 training examples: dog, road. "
    assert record.getMessage().startswith(expected)


def test_nothing_is_said_if_all_classes_occur(monkeypatch, caplog):
    monkeypatch.setattr(class_counts, "WATCHED_EXAMPLES", 3)
    watched = class_counts.MissingClasses(INFO)
    with caplog.at_level(logging.WARNING, logger="absl"):
        watched.add(np.array([[0b0101], [0b1000], [0b0010]]))
    assert not caplog.records

"""Bad records: reported with FAIL, replaced and counted with SKIP."""

import logging
import re

import numpy as np
import pytest
import tensorflow as tf
from bad_records import write_bad_records
from google.protobuf import text_format
from panoptic_fixtures import INFO, encode, write_records

from data.input import pipeline
from data.records import schema
from data.records.input_problems import InputProblems
from protos import dataset_pb2

_KINDS = [
    ("jpeg", "street", "the image does not decode"),
    ("jpeg bytes", "street", "the image does not decode"),
    ("label size", "street", "the label has 2280 bytes, not 2400 for image/height x image/width int32 values"),
    ("png label size", "street", "the label is (19, 30), but the image is (20, 30)"),
    ("gray label", "street", "the label is a gray or 16-bit PNG, not an RGB PNG with 8 bits per channel"),
    ("png label", "street", "the label does not decode"),
    ("label format", "street", "'zip' is not one of png, raw"),
    ("image size", "street", "image/height and image/width are (30, 20)"),
    ("class", "street", "class id 9 on 1 pixels, which is not in toy_panoptic"),
    ("divisor", "street", "panoptic_label_divisor 256"),
    ("key", "street", "the record has no image/encoded"),
    ("no label", "street", "the record has no label: use labeled records, or set decode_groundtruth_label: false"),
    ("bytes", "name unknown", "the record is not a tf.train.Example"),
]


def _options(path, text=""):
    base = f'file_pattern: "{path}/*.tfrecord" crop_size: [33, 33] max_thing_id: 40 '
    return text_format.Parse(base + text, dataset_pb2.DatasetOptions())


def _first_error(make, options, **arguments):
    """The error of the first of four batches that fails."""
    problems = pipeline.input_problems(options)
    dataset = make(options, INFO, batch_size=1, problems=problems, **arguments)
    with pytest.raises(schema.DataError) as caught:
        for _ in problems.batches(dataset.take(4)):
            pass
    return str(caught.value)


@pytest.mark.parametrize(("kind", "name", "problem"), _KINDS)
def test_bad_records_are_named(tmp_path, kind, name, problem):
    write_records(tmp_path / "a.tfrecord", 1)
    path = tmp_path / "b.tfrecord"
    write_bad_records(path, "none", kind)
    message = _first_error(pipeline.evaluation_dataset, _options(tmp_path))
    assert message.startswith(f"Bad example: {path} record 1 ({name}): ")
    assert problem in message
    assert "\n" not in message
    assert _first_error(pipeline.training_dataset, _options(tmp_path), seed=0) == message


def test_bad_records_are_replaced_in_training(tmp_path, caplog):
    good, epoch = 27, 10
    write_records(tmp_path / "a.tfrecord", good)
    write_bad_records(tmp_path / "b.tfrecord", *(kind for kind, _, _ in _KINDS))
    assert good + len(_KINDS) == 4 * epoch
    options = _options(tmp_path, "on_bad_example: SKIP augmentations { panoptic_copy_paste { panoptic_copy_paste_scale: 1 } }")
    problems = pipeline.input_problems(options)
    arguments = {"seed": 2, "batch_size": 4}
    with caplog.at_level(logging.WARNING, logger="absl"):
        dataset = pipeline.training_dataset(options, INFO, problems=problems, **arguments)
        batches = list(problems.batches(dataset.take(2 * epoch)))
    names = [name.decode() for batch in batches for name in batch["image_name"]]
    assert len(names) == 8 * epoch and set(names) == {f"img_0_{number}" for number in range(good)}
    # In each of two epochs, a bad record is drawn once as base and once as pasted image, and possibly as a replacement.
    assert problems.skipped_examples >= 4 * len(_KINDS)
    assert caplog.text.count("It is skipped (on_bad_example: SKIP)") == len(_KINDS)
    assert all(f"b.tfrecord record {number} (" in caplog.text for number in range(len(_KINDS)))
    # The replacement does not depend on where training starts.
    later = pipeline.training_dataset(options, INFO, start_step=epoch, **arguments)
    others = list(later.take(epoch).as_numpy_iterator())
    # The two images of each example, and what they replace.
    bad = [number for batch in others for number in batch[pipeline.REPORT][:, 3:].ravel() if number >= 0]
    assert set(bad) == set(range(good, 4 * epoch)) and others[0][pipeline.REPORT].shape == (4, 3 + 2 * 31)
    for one, other in zip(batches[epoch:], others, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_training_ends_if_all_records_are_bad(tmp_path):
    write_bad_records(tmp_path / "a.tfrecord", "jpeg", "class")
    options = _options(tmp_path, "on_bad_example: SKIP")
    message = _first_error(pipeline.training_dataset, options, seed=0)
    assert message.startswith("Bad example: too many examples cannot be used, such as ")
    assert re.search("a.tfrecord record [01] .street.: the (image|label).*create these records again", message)
    assert list(pipeline.evaluation_dataset(options, INFO, batch_size=1)) == []


def test_truncated_files_follow_the_policy(tmp_path):
    write_records(tmp_path / "a.tfrecord", 3)
    path = tmp_path / "a.tfrecord"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(schema.DataError, match="a.tfrecord is truncated in record 2"):
        pipeline.evaluation_dataset(_options(tmp_path), INFO, batch_size=1)
    options = _options(tmp_path, "on_bad_example: SKIP")
    problems = pipeline.input_problems(options)
    assert len(list(pipeline.evaluation_dataset(options, INFO, batch_size=1, problems=problems))) == 2
    assert problems.skipped_examples == 1


def test_a_record_with_a_changed_byte_is_reported_or_skipped(tmp_path):
    write_records(tmp_path / "a.tfrecord", 2)
    path = tmp_path / "a.tfrecord"
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 1
    path.write_bytes(data)
    message = _first_error(pipeline.evaluation_dataset, _options(tmp_path))
    assert message.startswith(f"Bad example: {path} record 0 (img_0_0): its checksum is wrong")
    options = _options(tmp_path, "on_bad_example: SKIP")
    assert len(list(pipeline.evaluation_dataset(options, INFO, batch_size=1))) == 1


def test_other_errors_are_not_explained(tmp_path):
    write_records(tmp_path / "a.tfrecord", 2)
    problems = pipeline.input_problems(_options(tmp_path))
    dataset = pipeline.evaluation_dataset(_options(tmp_path), INFO, batch_size=1, problems=problems)
    dataset = dataset.map(lambda batch: batch | {"image": tf.reshape(batch["image"], [-1, 7])})
    with pytest.raises(tf.errors.InvalidArgumentError, match="Input to reshape"):
        list(problems.batches(dataset))


def test_the_first_bad_example_of_a_later_step_is_named(tmp_path):
    """The host finds the example by the step whose batch is missing, on any host."""
    write_records(tmp_path / "a.tfrecord", 40)
    write_bad_records(tmp_path / "b.tfrecord", "class")
    options = _options(tmp_path, "augmentations { panoptic_copy_paste { panoptic_copy_paste_scale: 1 } }")
    failed = 0
    for shard in range(2):
        problems = pipeline.input_problems(options)
        dataset = pipeline.training_dataset(
            options, INFO, seed=1, batch_size=4, shard=shard, num_shards=2, start_step=2, problems=problems
        )
        iterator, step = iter(dataset), 2
        with pytest.raises(schema.DataError, match="b.tfrecord record 0 .street.: the label has class id 9"):
            for step in range(2, 30):
                with problems.explained(step):
                    next(iterator)
        failed += step
    assert failed > 4, "a bad example in the very first step would prove little"


def test_the_largest_instances_are_kept(tmp_path, caplog):
    panoptic = np.full((32, 32), 768, np.int32)
    for number in range(5):
        panoptic[6 * number : 6 * number + number + 1, :8] = 257 + number
    example = schema.build_example(encode(np.zeros((32, 32, 3), np.uint8)), "png", "crowded", 32, 32, panoptic)
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        writer.write(example.SerializeToString())
    options = _options(tmp_path)
    options.max_thing_id = 3
    problems = pipeline.input_problems(options)
    with caplog.at_level(logging.WARNING, logger="absl"):
        (batch,) = problems.batches(pipeline.evaluation_dataset(options, INFO, batch_size=1, problems=problems))
    assert "image crowded has 2 instances more than max_thing_id = 3" in caplog.text
    assert "Raise max_thing_id" in caplog.text
    assert problems.dropped_instances == 2
    numbers, semantic = batch["thing_id_mask_gt"][0, :32, :32], batch["semantic_gt"][0, :32, :32]
    np.testing.assert_array_equal(numbers, np.where(panoptic >= 768, -1, panoptic - 259).clip(-1))
    np.testing.assert_array_equal(semantic, np.where((panoptic == 257) | (panoptic == 258), 0, panoptic // 256))


def test_too_many_instances_after_pasting_are_reported_by_image(tmp_path, caplog):
    write_records(tmp_path / "a.tfrecord", 2)
    paste = "panoptic_copy_paste { panoptic_copy_paste_scale: 1 panoptic_copy_paste_thing_option: 'all' }"
    options = _options(tmp_path, "augmentations { " + paste + " }")
    options.crop_size[:] = [129, 129]
    options.max_thing_id = 6
    problems = pipeline.input_problems(options)
    with caplog.at_level(logging.WARNING, logger="absl"):
        batches = pipeline.training_dataset(options, INFO, seed=0, batch_size=4, problems=problems)
        batch = next(problems.batches(batches))
    assert "(including pasted segments) has" in caplog.text and "instances more than max_thing_id = 6" in caplog.text
    assert problems.dropped_instances > 0
    assert batch["thing_id_mask_gt"].max() == 5


def test_only_the_first_crowded_images_are_reported(caplog):
    problems = InputProblems()
    with caplog.at_level(logging.WARNING, logger="absl"):
        for number in range(40):
            problems.too_many_instances(f"image_{number}", 2, 100)
    assert problems.dropped_instances == 80
    assert [f"image_{number} has 2 instances" in caplog.text for number in (0, 9, 10, 39)] == [True, True, False, False]
    assert "further ones are counted but not reported" in caplog.text


def test_only_the_first_bad_examples_are_reported(caplog):
    problems = InputProblems(skip=True)
    with caplog.at_level(logging.WARNING, logger="absl"):
        for number in (*range(80), *range(80)):
            problems.bad_example(f"record {number}: broken")
    assert problems.skipped_examples == 160
    assert caplog.text.count("is skipped") == 50 and "further ones are counted but not reported" in caplog.text


def test_tiny_images(tmp_path):
    """Training and evaluation accept images of one pixel, row or column."""
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        for size in ((1, 1), (1, 9), (7, 1)):
            image = encode(np.full((*size, 3), 50, np.uint8), "png")
            writer.write(schema.build_example(image, "png", "dot", *size, np.full(size, 257, np.int32)).SerializeToString())
    text = """augmentations { min_scale_factor: 0.3 max_scale_factor: 1.7 scale_factor_step_size: 0.1
      autoaugment_policy_name: "simple_classification_policy"
      panoptic_copy_paste { panoptic_copy_paste_scale: 0.5 panoptic_copy_paste_thing_option: "all" } }"""
    evaluated = list(pipeline.evaluation_dataset(_options(tmp_path), INFO, batch_size=1))
    assert len(evaluated) == 3
    for batch in evaluated:
        assert (batch["semantic_gt"].numpy() == 1).sum() == np.prod(batch["resized_size"][0])
    options = _options(tmp_path, text)
    for batch in pipeline.training_dataset(options, INFO, seed=0, batch_size=5).take(6).as_numpy_iterator():
        assert np.isfinite(batch["image"]).all()
        np.testing.assert_array_equal((batch["semantic_gt"] == 1).any((1, 2)), True)


def test_training_accepts_an_image_without_any_label(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        image, panoptic = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), np.int32)
        writer.write(schema.build_example(encode(image), "png", "empty", 20, 30, panoptic).SerializeToString())
    batch = next(iter(pipeline.training_dataset(_options(tmp_path), INFO, seed=0, batch_size=2)))
    assert (batch["semantic_gt"].numpy() == 0).all() and (batch["thing_id_mask_gt"].numpy() == -1).all()

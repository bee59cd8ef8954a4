"""The input pipeline: exact resumption, shards, evaluation samples and bad records."""

import numpy as np
import pytest
import tensorflow as tf
from bad_records import write_bad_records
from google.protobuf import text_format
from panoptic_fixtures import INFO, encode, random_panoptic, write_records

from data.input import pipeline
from data.records import schema
from data.records.schema import DataError
from protos import dataset_pb2

_AUGMENTED = """augmentations {
  min_scale_factor: 0.5 max_scale_factor: 2 scale_factor_step_size: 0.1
  autoaugment_policy_name: "simple_classification_policy"
  panoptic_copy_paste { panoptic_copy_paste_scale: 0.5 panoptic_copy_paste_thing_option: "all" }
}"""


def _options(path, text="", crop=33):
    base = f'file_pattern: "{path}/*.tfrecord" crop_size: [{crop}, {crop}] max_thing_id: 40 '
    return text_format.Parse(base + text, dataset_pb2.DatasetOptions())


def _batches(options, count, **arguments):
    dataset = pipeline.training_dataset(options, INFO, **arguments)
    return list(dataset.take(count).as_numpy_iterator())


def _assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert set(one) == set(other)
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_interrupted_training_sees_the_same_batches(tmp_path):
    write_records(tmp_path / "a.tfrecord", 7)
    options = _options(tmp_path, _AUGMENTED)
    arguments = {"seed": 5, "batch_size": 4, "shard": 1, "num_shards": 2}
    whole = _batches(options, 5, **arguments)
    _assert_equal(whole[3:], _batches(options, 2, start_step=3, **arguments))
    assert all(batch["image"].shape == (2, 33, 33, 3) for batch in whole)
    assert any((whole[0][key] != whole[1][key]).any() for key in ("image", "semantic_gt"))


def test_every_epoch_contains_every_image_once(tmp_path):
    write_records(tmp_path / "a.tfrecord", 6)
    batches = _batches(_options(tmp_path), 4, seed=3, batch_size=3)
    names = [name.decode() for batch in batches for name in batch["image_name"]]
    for epoch in (names[:6], names[6:]):
        assert sorted(epoch) == [f"img_0_{i}" for i in range(6)]
    assert names[:6] != names[6:]
    other = _batches(_options(tmp_path), 2, seed=4, batch_size=3)
    assert [name.decode() for batch in other for name in batch["image_name"]] != names[:6]


def test_training_batches_have_static_shapes(tmp_path):
    write_records(tmp_path / "a.tfrecord", 2)
    spec = pipeline.training_dataset(_options(tmp_path), INFO, seed=0, batch_size=2).element_spec
    assert {key: (value.shape.as_list(), value.dtype) for key, value in spec.items()} == {
        "image": ([2, 33, 33, 3], tf.float32),
        "image_name": ([2], tf.string),
        "semantic_gt": ([2, 33, 33], tf.int32),
        "semantic_loss_weight": ([2, 33, 33], tf.float32),
        "thing_id_mask_gt": ([2, 33, 33], tf.int32),
        "thing_id_class_gt": ([2, 40], tf.int32),
        "input_report": ([2, 3], tf.int64),
    }


def test_image_and_label_stay_aligned(tmp_path):
    """The red channel of the images encodes the class: inside segments, it still does after augmentation without colors."""
    rng = np.random.default_rng(0)
    panoptic = random_panoptic(rng, 40, 40).repeat(4, 0).repeat(4, 1)
    image = np.repeat((panoptic // 256 * 50)[..., None], 3, 2).astype(np.uint8)
    example = schema.build_example(encode(image), "png", "a", 160, 160, panoptic)
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        writer.write(example.SerializeToString())
    text = _AUGMENTED.replace('autoaugment_policy_name: "simple_classification_policy"', "")
    for batch in _batches(_options(tmp_path, text, crop=97), 4, seed=0, batch_size=2):
        red, semantic = batch["image"][..., 0], batch["semantic_gt"]
        inside = red != 127.5
        agree = np.abs(red - 50 * semantic)[inside] < 12
        assert agree.mean() > 0.8
        numbers = batch["thing_id_mask_gt"]
        for row, classes in enumerate(batch["thing_id_class_gt"]):
            for number in np.unique(numbers[row][numbers[row] >= 0]):
                assert set(np.unique(semantic[row][numbers[row] == number])) == {classes[number]}


def test_evaluation_yields_all_records_in_order(tmp_path):
    panoptics = write_records(tmp_path / "a.tfrecord", 3) + write_records(tmp_path / "b.tfrecord", 2, seed=1, size=(70, 30))
    batches = list(pipeline.evaluation_dataset(_options(tmp_path), INFO, batch_size=2).as_numpy_iterator())
    assert [len(batch["image"]) for batch in batches] == [2, 2, 1]
    merged = [{key: value[i] for key, value in batch.items()} for batch in batches for i in range(len(batch["image"]))]
    assert [one["image_name"].decode() for one in merged] == ["img_0_0", "img_0_1", "img_0_2", "img_1_0", "img_1_1"]
    for one, panoptic in zip(merged, panoptics, strict=True):
        np.testing.assert_array_equal(tf.io.parse_tensor(one["panoptic_raw"], tf.int32), panoptic)
        assert one["raw_size"].tolist() == list(panoptic.shape)
        # 24x32 fits into 33x33; 70x30 is scaled by 33/70 (in float32, rounded down).
        height, width = one["resized_size"]
        assert (height, width) == ((24, 32) if panoptic.shape == (24, 32) else (33, 14))
        assert (one["image"][height:] == 127.5).all() and (one["image"][:, width:] == 127.5).all()
        assert (one["semantic_gt"][height:] == 0).all() and (one["semantic_gt"][:, width:] == 0).all()
        assert (one["thing_id_mask_gt"][height:] == -1).all()
        if panoptic.shape == (24, 32):
            raw = tf.io.decode_png(one["raw_image"]).numpy()
            np.testing.assert_array_equal(one["image"][:24, :32], raw)
            np.testing.assert_array_equal(one["semantic_gt"][:24, :32], panoptic // 256)


def test_records_in_file_systems_of_tensorflow(tmp_path):
    write_records(tmp_path / "a.tfrecord", 5)
    tf.io.gfile.makedirs("ram://records")
    tf.io.gfile.copy(str(tmp_path / "a.tfrecord"), "ram://records/a.tfrecord", overwrite=True)
    arguments = {"seed": 1, "batch_size": 3}
    local, remote = (_batches(_options(folder, _AUGMENTED), 3, **arguments) for folder in (tmp_path, "ram://records"))
    _assert_equal(local, remote)
    evaluated = [
        list(pipeline.evaluation_dataset(_options(folder), INFO, batch_size=2).as_numpy_iterator())
        for folder in (tmp_path, "ram://records")
    ]
    _assert_equal(*evaluated)


def test_no_step_returns_to_python(tmp_path):
    """Other processes run the graph, which must not refer to functions of this one."""
    write_records(tmp_path / "a.tfrecord", 2)
    for text in (_AUGMENTED, _AUGMENTED + "on_bad_example: SKIP"):
        for dataset in (
            pipeline.training_dataset(_options(tmp_path, text), INFO, seed=0, batch_size=1),
            pipeline.evaluation_dataset(_options(tmp_path, text), INFO, batch_size=1),
        ):
            graph = tf.compat.v1.GraphDef.FromString(dataset._as_serialized_graph().numpy())
            functions = [node.op for function in graph.library.function for node in function.node_def]
            operations = {node.op for node in graph.node} | set(functions)
            assert "TFRecordDatasetV2" in operations and len(operations) > 50
            assert not [name for name in operations if "Py" in name]


def test_evaluation_without_labels(tmp_path):
    image = np.zeros((20, 30, 3), np.uint8)
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        writer.write(schema.build_example(encode(image), "png", "a", 20, 30, None).SerializeToString())
    options = _options(tmp_path, "decode_groundtruth_label: false")
    (batch,) = pipeline.evaluation_dataset(options, INFO, batch_size=4)
    assert set(batch) == {
        "image",
        "image_name",
        "number",
        "num_records",
        "resized_size",
        "raw_size",
        "raw_image",
        pipeline.REPORT,
    }


def test_skipped_examples_are_left_out_of_evaluation(tmp_path):
    write_records(tmp_path / "a.tfrecord", 3)
    write_bad_records(tmp_path / "b.tfrecord", "none", "jpeg", "class", "none")
    options = _options(tmp_path, "on_bad_example: SKIP")
    problems = pipeline.input_problems(options)
    dataset = pipeline.evaluation_dataset(options, INFO, batch_size=2, problems=problems)
    names = [name.decode() for batch in problems.batches(dataset) for name in batch["image_name"]]
    assert names == ["img_0_0", "img_0_1", "img_0_2", "street", "street"]
    batches = list(problems.batches(dataset))
    numbers = [int(number) for batch in batches for number in batch["number"]]
    assert numbers == [0, 1, 2, 3, 6] and {int(batch["num_records"][0]) for batch in batches} == {7}
    assert problems.skipped_examples == 4, "two in each of the two passes"
    write_bad_records(tmp_path / "c.tfrecord", "jpeg", "jpeg")
    dataset = pipeline.evaluation_dataset(options, INFO, batch_size=2, problems=problems)
    assert [len(batch["image"]) for batch in problems.batches(dataset)] == [2, 2, 1]
    assert problems.skipped_examples == 8, "also the last ones"


def test_missing_records_are_named(tmp_path):
    with pytest.raises(DataError, match=r"\*.tfrecord' matches no file.*data/build_panoptic.py"):
        pipeline.training_dataset(_options(tmp_path), INFO, seed=0, batch_size=2)

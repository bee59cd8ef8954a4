"""on_bad_example: SKIP through a whole run: counts in the log, in TensorBoard and in the metrics."""

import json
import pathlib
import re
import threading

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.records import schema
from data.records.schema import DataError
from kmax_tf import load_config
from trainer.evaluation.eval_loop import EvalLoop
from trainer.train import run_experiment
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment


def _write_bad_record(path: pathlib.Path) -> None:
    example = schema.build_example(b"no image", "jpeg", "broken", 65, 65, np.zeros([65, 65], np.int32))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example.SerializeToString())


def _last_scalars(folder: pathlib.Path) -> dict[str, float]:
    events = EventAccumulator(str(folder)).Reload()
    last = {tag: tf.make_ndarray(events.Tensors(tag)[-1].tensor_proto) for tag in events.Tags()["tensors"]}
    return {tag: float(value) for tag, value in last.items() if value.dtype.kind == "f"}


@pytest.mark.usefixtures("untrained")
def test_counts_of_a_run(tiny_config, records, tmp_path, capsys):
    _write_bad_record(tmp_path / "bad.tfrecord")
    overrides = [
        "trainer_options.solver_options.training_number_of_steps=8",
        "evaluator_options.eval_interval=8",
        *(f"{section}_dataset_options.on_bad_example=SKIP" for section in ("train", "eval")),
        *(
            f"{section}_dataset_options.file_pattern=[{records}/{split}-*.tfrecord,{tmp_path}/bad.tfrecord]"
            for section, split in (("train", "train"), ("eval", "val"))
        ),
        # The two largest of up to five instances stay.
        "train_dataset_options.max_thing_id=2",
    ]
    run_experiment(load_config(tiny_config, overrides), "train_and_eval", tmp_path / "run", make_strategy())
    printed = capsys.readouterr()
    assert re.search(r"input wait \d+%  skipped [1-9]", printed.out)
    assert "1 examples could not be used and are not part of the evaluation" in printed.out
    scalars = _last_scalars(tmp_path / "run" / "train")
    # 16 of the examples of 7 records, one of them bad, and what has been read ahead.
    assert scalars["input/skipped_examples"] >= 2
    assert scalars["input/dropped_instances"] > 0
    assert _last_scalars(tmp_path / "run" / "eval")["input/skipped_examples"] == 1
    metrics = json.loads((tmp_path / "run" / "eval" / "metrics.json").read_text())
    assert metrics["skipped_examples"] == 1
    assert np.isfinite(metrics["mean_iou"])


def _evaluation(tiny_config, folder):
    pattern = f"eval_dataset_options.file_pattern={folder}/*.tfrecord"
    config = load_config(tiny_config, ["eval_dataset_options.on_bad_example=SKIP", pattern])
    return EvalLoop(build_experiment(config, make_strategy(), seed=0), folder, threading.Event())


def test_a_limited_evaluation_counts_up_to_its_last_image(tiny_config, records, tmp_path, capsys):
    for name in ("a", "z1", "z2", "z3"):
        _write_bad_record(tmp_path / f"{name}.tfrecord")
    (good,) = records.glob("val-*.tfrecord")
    (tmp_path / "m.tfrecord").symlink_to(good)
    loop = _evaluation(tiny_config, tmp_path)
    for limit in (2, 3):
        loop.evaluate(tf.constant(limit))
        assert json.loads((tmp_path / "eval" / "metrics.json").read_text())["skipped_examples"] == 1
    assert "1 examples could not be used" in capsys.readouterr().out
    (tmp_path / "eval" / "metrics.json").unlink()
    with pytest.raises(DataError, match="4 examples cannot be used, more than the 3 that can"):
        loop.evaluate(tf.constant(-1))
    assert not (tmp_path / "eval" / "metrics.json").exists()


def test_a_limited_evaluation_does_not_count_damaged_files(tiny_config, records, tmp_path, capsys):
    (good,) = records.glob("val-*.tfrecord")
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.tfrecord").write_bytes(good.read_bytes()[:-10])
    loop = _evaluation(tiny_config, tmp_path)
    for limit, skipped in ((2, 0), (-1, 3)):
        loop.evaluate(tf.constant(limit))
        assert json.loads((tmp_path / "eval" / "metrics.json").read_text())["skipped_examples"] == skipped
    assert "evaluated 2 images" in (printed := capsys.readouterr().out) and "evaluated 6 images" in printed


def test_an_evaluation_without_images_has_no_metrics(tiny_config, tmp_path):
    _write_bad_record(tmp_path / "a.tfrecord")
    with pytest.raises(DataError, match="none of the examples can be used"):
        _evaluation(tiny_config, tmp_path).evaluate(tf.constant(-1))
    assert not (tmp_path / "eval").exists()

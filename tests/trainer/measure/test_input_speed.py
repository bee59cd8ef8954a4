"""Measurements of the input pipeline: records, crops, and rates that are consistent with the clock."""

import json
import time

import numpy as np
import pytest
import tensorflow as tf
from command_line import ROOT, run_script
from panoptic_fixtures import open_records

from data.input.example_reader import ExampleReader
from data.records import schema
from data.records.schema import DataError
from kmax_tf import load_config
from protos import descriptions
from protos.descriptions import ConfigError
from trainer.benchmark import benchmark_input
from trainer.measure import input_speed
from trainer.measure.drawn_records import SIZE, write_drawn_records

_COCO = ROOT / "configs" / "coco" / "kmax_r50.textproto"


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(input_speed, "_WARM_UP_SECONDS", 0.1)
    monkeypatch.setattr(input_speed, "_SECONDS", 0.3)


@pytest.mark.parametrize("name", ["coco_panoptic", "cityscapes_panoptic"])
def test_drawn_records_are_always_the_same(tmp_path, name):
    info = descriptions.load(name)
    for file in ("a", "b"):
        write_drawn_records(tmp_path / f"{file}.tfrecord", info)
    assert (tmp_path / "a.tfrecord").read_bytes() == (tmp_path / "b.tfrecord").read_bytes()
    reader = ExampleReader(open_records(f"{tmp_path}/a.tfrecord"), info)
    assert len(reader) == 64
    segments = [np.unique(reader.read(number).panoptic).size for number in range(64)]
    assert reader.read(3).image.shape == (*SIZE, 3)
    assert 3 < np.mean(segments) < 14


def test_synthetic_records_replace_missing_ones(short):
    config = load_config(_COCO, ["train_dataset_options.file_pattern=/nowhere/*"])
    lines = []
    started = time.perf_counter()
    result = input_speed.measure_input(config, ((65, 65), (97, 129)), progress=lines.append)
    seconds = time.perf_counter() - started
    assert result["records"] == "64 synthetic images of 192x256 (height x width)"
    assert list(result["crops"]) == ["65x65", "97x129"] and len(lines) == 3
    for rate in (result["decoding"], *result["crops"].values()):
        # At least one batch of 16 in the elapsed time.
        assert 16 / seconds < rate["images_per_second"] and rate["cpu_ms_per_image"] > 0
    # Each example decodes two images, and the rest takes longer than decoding.
    assert 2 * result["decoding"]["cpu_ms_per_image"] < result["crops"]["65x65"]["cpu_ms_per_image"]


def test_records_of_the_config_are_measured(short, tiny_config):
    result = input_speed.measure_input(load_config(tiny_config), ((65, 65),), progress=print)
    assert result["records"] == "the records of the config"


def test_error_for_an_invalid_record_names_it(short, tiny_config, records, tmp_path):
    image = tf.io.encode_jpeg(np.zeros((40, 40, 3), np.uint8)).numpy()
    with tf.io.TFRecordWriter(str(tmp_path / "bad.tfrecord")) as writer:
        writer.write(schema.build_example(image, "jpeg", "street", 40, 40, None).SerializeToString())
    for policy in ("FAIL", "SKIP"):
        overrides = [
            f"train_dataset_options.file_pattern=[{records}/train-*.tfrecord,{tmp_path}/bad.tfrecord]",
            f"train_dataset_options.on_bad_example={policy}",
        ]
        job = load_config(tiny_config, overrides), ((65, 65),)
        if policy == "SKIP":
            assert list(input_speed.measure_input(*job, progress=print)["crops"]) == ["65x65"]
            continue
        with pytest.raises(DataError, match="bad.tfrecord record 0 .street.: the record has no label"):
            input_speed.measure_input(*job, progress=print)


@pytest.mark.slow
def test_command_measures_both_crops():
    completed = run_script("trainer/benchmark.py", f"--config_file={_COCO}", "--input")
    assert completed.returncode == 0, completed.stderr
    result = json.loads(completed.stdout.splitlines()[-1])
    assert result["experiment"] == "coco_kmax_r50" and list(result["input"]["crops"]) == ["257x257", "641x641"]
    assert "crop 641x641" in completed.stdout and "decoding alone" in completed.stdout


def test_crops_replace_sizes_that_are_set():
    options = load_config(_COCO).train_dataset_options
    sized = input_speed._at_crop(options, (257, 641))
    assert (list(sized.crop_size), list(sized.min_resize_value), list(sized.max_resize_value)) == ([257, 641],) * 3
    assert sized.augmentations == options.augmentations
    options.ClearField("min_resize_value")
    options.max_resize_value[:] = [0]
    sized = input_speed._at_crop(options, (257, 641))
    assert not list(sized.min_resize_value) and list(sized.max_resize_value) == [0]


def test_train_dataset_options_are_required():
    config = load_config(_COCO)
    config.ClearField("train_dataset_options")
    with pytest.raises(ConfigError, match="--input needs train_dataset_options"):
        benchmark_input(config, ((65, 65),))

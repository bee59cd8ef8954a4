"""Everything wrong with what a user hands in: one message, exit code 1, and nothing that was saved is lost."""

import io
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data.records import schema
from kmax_tf import ConfigError, load_config
from kmax_tf.cli.command import exit_code
from trainer.train import run_experiment
from trainer.training.checkpoints import RunCheckpoints
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment


def _fails(capsys: pytest.CaptureFixture, config: pathlib.Path, model_dir: pathlib.Path, *overrides: str) -> str:
    """The message with which training ends, as the command prints it."""

    def main() -> int:
        return run_experiment(load_config(config, overrides), "train", model_dir, make_strategy())

    assert exit_code(main, [], interrupted="") == 1
    before, marker, message = capsys.readouterr().err.partition("error: ")
    assert marker and "error: " not in message and "Traceback" not in before + message
    return message


def _jpeg(height: int, width: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros([height, width, 3], np.uint8)).save(buffer, format="jpeg")
    return buffer.getvalue()


def _write(path: pathlib.Path, image: bytes, panoptic: np.ndarray) -> str:
    example = schema.build_example(image, "jpeg", "the_image", *panoptic.shape, panoptic, label_format="raw")
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example.SerializeToString())
    return f"train_dataset_options.file_pattern={path}"


def test_no_records(capsys, tiny_config, tmp_path):
    message = _fails(capsys, tiny_config, tmp_path, f"train_dataset_options.file_pattern={tmp_path}/none-*")
    assert f"{tmp_path}/none-*" in message and "data/build_scenes.py" in message


def test_unfilled_placeholder(capsys, tiny_config, tmp_path):
    message = _fails(capsys, tiny_config, tmp_path / "run", "train_dataset_options.file_pattern=${TRAIN_SET}")
    assert message.startswith("tiny: train_dataset_options.file_pattern: ${TRAIN_SET} is a placeholder")
    assert not (tmp_path / "run").exists()


def test_no_loss_term(capsys, tiny_config, tmp_path):
    text = tiny_config.read_text()
    beginning, end = text.index("  loss_options {"), text.index("  solver_options {")
    path = tmp_path / "lossless.textproto"
    path.write_text(text[:beginning] + text[end:])
    message = _fails(capsys, path, tmp_path / "run")
    assert "trainer_options.loss_options: no term is set" in message and "pq_style_loss" in message


def test_truncated_records(capsys, tiny_config, records, tmp_path):
    whole = sorted(records.glob("train-*.tfrecord"))[0].read_bytes()
    (tmp_path / "cut.tfrecord").write_bytes(whole[: len(whole) // 2])
    message = _fails(capsys, tiny_config, tmp_path / "run", f"train_dataset_options.file_pattern={tmp_path}/cut.tfrecord")
    assert "cut.tfrecord" in message and "truncated" in message


@pytest.mark.usefixtures("untrained")
def test_damaged_jpeg(capsys, tiny_config, tmp_path):
    override = _write(tmp_path / "bad.tfrecord", _jpeg(80, 70)[:300], np.full([80, 70], 4 * 256, np.int32))
    message = _fails(capsys, tiny_config, tmp_path / "run", override)
    assert "bad.tfrecord record 0 (the_image)" in message and "JPEG" in message


@pytest.mark.usefixtures("untrained")
def test_label_of_another_size(capsys, tiny_config, tmp_path):
    override = _write(tmp_path / "bad.tfrecord", _jpeg(80, 70), np.full([80, 60], 4 * 256, np.int32))
    message = _fails(capsys, tiny_config, tmp_path / "run", override)
    assert "bad.tfrecord record 0 (the_image)" in message and "(80, 70)" in message and "(80, 60)" in message


def test_evaluation_without_a_checkpoint(capsys, tiny_config, tmp_path):
    with pytest.raises(ConfigError, match="holds no checkpoint to evaluate"):
        run_experiment(load_config(tiny_config), "eval", tmp_path / "mistyped", make_strategy())


def test_model_dir_that_cannot_be_written(capsys, tiny_config, tmp_path):
    (tmp_path / "file").write_text("")
    message = _fails(capsys, tiny_config, tmp_path / "file" / "run")
    assert str(tmp_path / "file" / "run") in message and "cannot be written" in message


def test_initial_checkpoint_that_does_not_exist(capsys, tiny_config, tmp_path):
    message = _fails(capsys, tiny_config, tmp_path / "run", f"model_options.initial_checkpoint={tmp_path}/nothing")
    assert f"{tmp_path}/nothing" in message


def test_model_dir_of_another_model(capsys, tiny_config, tmp_path):
    experiment_dir = tmp_path / "run"
    _save_checkpoint(tiny_config, experiment_dir)
    before = {p.name: p.read_bytes() for p in experiment_dir.glob("ckpt*")}
    message = _fails(capsys, tiny_config, experiment_dir, "model_options.max_deeplab.num_mask_slots=12")
    assert "cluster_centers" in message and "--model_dir" in message
    assert {p.name: p.read_bytes() for p in experiment_dir.glob("ckpt*")} == before


def _save_checkpoint(config: pathlib.Path, model_dir: pathlib.Path) -> None:
    loaded = load_config(config)
    RunCheckpoints(build_experiment(loaded, make_strategy(), 0), model_dir, lambda: None).save()

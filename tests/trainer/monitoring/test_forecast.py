"""The forecast of memory and disk."""

import pathlib
import shutil

import psutil
import pytest
import tensorflow as tf

from kmax_tf import load_config
from protos.descriptions import ConfigError
from trainer.monitoring.forecast import checkpoint_bytes, kept_bytes, report_needs
from trainer.training.checkpoints import RunCheckpoints
from trainer.training.distribution import make_strategy
from trainer.training.experiment import Experiment, build_experiment


def traced(function, *specs: tf.TensorSpec) -> tf.types.experimental.ConcreteFunction:
    return tf.function(function, autograph=False).get_concrete_function(*specs)


def test_what_the_backward_pass_reads_is_kept():
    spec = tf.TensorSpec([10, 20])

    def slope(x: tf.Tensor) -> tf.Tensor:
        y = tf.tanh(x)  # kept for its own gradient and for that of the product
        z = tf.identity(tf.sin(x))  # kept, once, for the product
        return tf.gradients(tf.reduce_sum(y * z + tf.abs(-x)), x)[0]  # -x is kept for the sign; the rest is not needed

    # x itself is an argument.
    assert kept_bytes(traced(slope, spec).graph) == 3 * 10 * 20 * 4

    inner = tf.function(slope, autograph=False)
    assert kept_bytes(traced(lambda x: inner(x) + inner(x), spec).graph) == 3 * 10 * 20 * 4, "one call at a time"

    def loop(x: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda x: tf.reduce_sum(x) > 1, lambda x: (slope(x),), (x,))[0]

    assert kept_bytes(traced(loop, spec).graph) == 3 * 10 * 20 * 4


@pytest.fixture(scope="module")
def experiment(tiny_config: pathlib.Path, whole_encoder: None) -> Experiment:
    return build_experiment(load_config(tiny_config), make_strategy(), seed=0)


@pytest.fixture
def step() -> tf.types.experimental.ConcreteFunction:
    return traced(lambda x: tf.gradients(tf.tanh(x), x)[0], tf.TensorSpec([1000, 1000]))


def test_size_of_checkpoints(experiment, tmp_path):
    RunCheckpoints(experiment, tmp_path, lambda: None).save(4)
    size = sum(path.stat().st_size for path in tmp_path.glob("ckpt-4.data*"))
    assert size > 0
    assert checkpoint_bytes(experiment) == pytest.approx(size, rel=0.02)


def test_what_does_not_fit_is_refused(experiment, step, tmp_path, monkeypatch, capsys):
    usage, memory = shutil.disk_usage(tmp_path), psutil.virtual_memory()
    size = checkpoint_bytes(experiment)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3 * size))
    report_needs(step, experiment, tmp_path)
    shown = capsys.readouterr().out
    assert "a step keeps 0.00 GB for the backward pass" in shown and "warning: 6 checkpoints" in shown
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=size // 2))
    with pytest.raises(ConfigError, match="the disk has .* free, a checkpoint takes .*: free space"):
        report_needs(step, experiment, tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=1_000_000))
    monkeypatch.setattr(psutil, "swap_memory", lambda: memory._replace(free=0))
    with pytest.raises(ConfigError, match="needs .* more memory, 0.00 GB is available: lower train_dataset_options"):
        report_needs(step, experiment, tmp_path)

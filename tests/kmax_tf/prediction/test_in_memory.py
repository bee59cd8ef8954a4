"""Checkpoints that are run without an export."""

import logging

import pytest
import tensorflow as tf
from example_configs import small_config

from kmax_tf import build_model
from kmax_tf.prediction import in_memory
from kmax_tf.prediction.in_memory import checkpoint_engine


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    prefix = str(tmp_path_factory.mktemp("checkpoint") / "ckpt-1")
    return tf.train.Checkpoint(model=build_model(small_config())).write(prefix)


def test_bfloat16_that_is_slow_here_is_announced(checkpoint, monkeypatch, caplog):
    config = small_config(["trainer_options.mixed_precision=BFLOAT16"])
    monkeypatch.setattr(in_memory, "bfloat16_problem", lambda: "this CPU is slow")
    with caplog.at_level(logging.WARNING, logger="absl"):
        checkpoint_engine(config, checkpoint, clusters=False)
    assert "trainer_options.mixed_precision BFLOAT16: this CPU is slow" in caplog.text

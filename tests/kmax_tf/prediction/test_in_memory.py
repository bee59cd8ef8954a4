"""Checkpoints that are run without an export."""

import logging

import pytest
import tensorflow as tf
from example_configs import make_images, small_config

from kmax_tf import ConfigError, build_model
from kmax_tf.postprocessing import maskwise, postprocessor
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


def test_merge_rules_need_no_numpy_version(checkpoint, monkeypatch):
    config, image = small_config(), make_images()[0].numpy()
    (expected,) = checkpoint_engine(config, checkpoint, clusters=False).predict([image])
    config.evaluator_options.transformer_post_processing = "of_a_plugin"
    rules = {"of_a_plugin": maskwise.MERGE_RULES["maskwise"]}
    monkeypatch.setattr(postprocessor, "registered", lambda *_: rules)
    (maps,) = checkpoint_engine(config, checkpoint, clusters=False).predict([image])
    assert (maps["panoptic_pred"] == expected["panoptic_pred"]).all()


def test_merging_at_the_raw_size_is_left_to_saved_models(checkpoint):
    config = small_config(["evaluator_options.merge_at_raw_size=true"])
    with pytest.raises(ConfigError, match="merge_at_raw_size needs a SavedModel"):
        checkpoint_engine(config, checkpoint, clusters=False)

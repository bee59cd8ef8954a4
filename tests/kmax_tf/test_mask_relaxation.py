"""The branches of relaxation.masks: they change training alone."""

import numpy as np
import pytest
import tensorflow as tf
from example_configs import make_images, make_targets, small_config

from kmax_tf import CheckpointError, build_loss, build_model, load_checkpoint
from kmax_tf.checkpoints.loading import check_checkpoint
from kmax_tf.checkpoints.variable_names import named_variables

HEAD = "model_options.max_deeplab"
DECODERS = f"{HEAD}.num_decoders=[1,1,0]"
RELAXED = (DECODERS, f"{HEAD}.relaxation.masks=true", f"{HEAD}.relaxation.num_relaxed_decoders=1")


@pytest.fixture(scope="module")
def plain():
    return build_model(small_config([DECODERS]))


@pytest.fixture(scope="module")
def relaxed():
    return build_model(small_config(RELAXED))


@pytest.fixture
def checkpoint_of(tmp_path):
    return lambda model: tf.train.Checkpoint(model=model).write(str(tmp_path / "ckpt"))


def test_branches_come_last(plain, relaxed):
    """Optimizers number the variables."""
    shapes = [v.shape for v in plain.trainable_variables]
    assert [v.shape for v in relaxed.trainable_variables[: len(shapes)]] == shapes
    names = list(named_variables(relaxed))
    assert names[: len(plain.variables)] == list(named_variables(plain))
    assert all(name.startswith("mask_relaxation/") for name in names[len(plain.variables) :])


def test_checkpoints_fit_both_models_and_give_the_same_outputs(plain, relaxed, checkpoint_of):
    branch = {name for name in named_variables(relaxed) if name.startswith("mask_relaxation/")}
    report = load_checkpoint(plain, checkpoint_of(relaxed))
    assert not report.missing and {name.removeprefix("model/") for name in report.unexpected} == branch
    ours, theirs = (model(make_images(), training=False) for model in (relaxed, plain))
    tf.nest.map_structure(np.testing.assert_array_equal, ours, theirs)
    report = load_checkpoint(relaxed, checkpoint_of(plain))
    assert set(report.missing) == branch and not report.unexpected
    # A run cannot go on without the state of the branches.
    with pytest.raises(CheckpointError, match="relaxation.masks"):
        check_checkpoint(relaxed, checkpoint_of(plain))


def test_branches_learn_from_their_own_loss_alone(relaxed):
    with tf.GradientTape(persistent=True) as tape:
        outputs = relaxed(make_images(), training=True)
        losses = build_loss(small_config(RELAXED))(make_targets(), outputs)
        own = losses["aux_0semantic_loss"]
        others = losses["total_loss"] - own
    first, second = outputs["auxiliary_outputs"]
    assert first["relaxation_semantic_logits"].shape == (2, 17, 25, 6) and "relaxation_semantic_logits" not in second
    variables = relaxed.mask_relaxation.trainable_variables
    assert all(tf.reduce_any(gradient != 0) for gradient in tape.gradient(own, variables))
    assert all(gradient is None or tf.reduce_all(gradient == 0) for gradient in tape.gradient(others, variables))

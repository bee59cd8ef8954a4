"""What a run starts from: a checkpoint with other classes, the weights of an encoder, or both."""

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import CheckpointError, build_model, load_config
from kmax_tf.checkpoints.deeplab2_names import deeplab2_names
from kmax_tf.checkpoints.variable_names import named_variables
from trainer.train import run_experiment
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment
from trainer.training.initial_weights import load_initial_weights


@pytest.fixture(scope="module")
def coco_model(tiny_config):
    """The tiny model with the classes of COCO and 12 slots."""
    overrides = ["dataset=coco_panoptic"]
    config = load_config(
        tiny_config,
        [f"{section}.{field}" for section in ("train_dataset_options", "eval_dataset_options") for field in overrides]
        + ["model_options.max_deeplab.num_mask_slots=12"],
    )
    return build_model(config)


@pytest.fixture(scope="module")
def coco_checkpoint(coco_model, tmp_path_factory) -> str:
    return tf.train.Checkpoint(model=coco_model).save(str(tmp_path_factory.mktemp("coco") / "ckpt"))


@pytest.fixture(scope="module")
def encoder_weights(coco_model, tmp_path_factory) -> str:
    """The encoder, doubled, as a checkpoint whose root it is."""
    names = deeplab2_names(list(named_variables(coco_model)))
    root = tf.train.Checkpoint()
    for name, variable in named_variables(coco_model).items():
        if not name.startswith("pixel_encoder/"):
            continue
        *folders, leaf = names[name].split("/")
        node = root
        for folder in folders:
            if not hasattr(node, folder):
                setattr(node, folder, tf.train.Checkpoint())
            node = getattr(node, folder)
        setattr(node, leaf, tf.Variable(2 * variable))
    return root.write(str(tmp_path_factory.mktemp("imagenet") / "ckpt"))


def start(tiny_config, *overrides):
    """The variables of an experiment before and after its initial weights are loaded."""
    experiment = build_experiment(load_config(tiny_config, overrides), make_strategy(), seed=3)
    before = {name: v.numpy() for name, v in named_variables(experiment.model).items()}
    load_initial_weights(experiment)
    return before, {name: v.numpy() for name, v in named_variables(experiment.model).items()}


def test_fine_tuning_to_other_classes_prints_what_is_kept(tiny_config, coco_model, coco_checkpoint, capsys):
    checkpoint = f"model_options.initial_checkpoint={coco_checkpoint}"
    with pytest.raises(CheckpointError, match="skip_mismatched"):
        start(tiny_config, checkpoint)
    before, after = start(tiny_config, checkpoint, "model_options.restore.skip_mismatched=true")
    printed = capsys.readouterr().out
    theirs = {name: v.numpy() for name, v in named_variables(coco_model).items()}
    kept = {name for name, value in theirs.items() if value.shape != after[name].shape}
    assert "kmax_decoder/cluster_centers" in kept and "predictor/class_head/kernel" in kept
    for name, value in after.items():
        np.testing.assert_array_equal(value, before[name] if name in kept else theirs[name], err_msg=name)
        assert (f"keeps its initial value, different shape: {name} " in printed) == (name in kept)
    assert f"loaded {len(after) - len(kept)} variables from {coco_checkpoint}" in printed


def test_a_random_start_is_told(tiny_config, capsys):
    before, after = start(tiny_config)
    printed = capsys.readouterr().out
    assert "starting from random values, including the encoder" in printed
    assert printed.count("warning: the random encoder learns at 0.1 of the learning rate") == 1
    assert all(np.array_equal(value, before[name]) for name, value in after.items())


def test_a_random_encoder_with_the_whole_learning_rate_is_no_reason_to_warn(tiny_config, capsys):
    start(tiny_config, "trainer_options.solver_options.backbone_learning_rate_multiplier=1")
    assert "warning" not in capsys.readouterr().out


def test_pretrained_encoder(tiny_config, coco_model, encoder_weights, capsys):
    before, after = start(tiny_config, f"model_options.backbone.pretrained_weights={encoder_weights}")
    printed = capsys.readouterr().out
    assert "everything after the encoder starts from random values" in printed and "warning" not in printed
    theirs = named_variables(coco_model)
    for name, value in after.items():
        expected = 2 * theirs[name].numpy() if name.startswith("pixel_encoder/") else before[name]
        np.testing.assert_array_equal(value, expected, err_msg=name)


def test_a_whole_model_comes_before_its_encoder(tiny_config, coco_model, coco_checkpoint, encoder_weights):
    _, after = start(
        tiny_config,
        f"model_options.initial_checkpoint={coco_checkpoint}",
        f"model_options.backbone.pretrained_weights={encoder_weights}",
        "model_options.restore.skip_mismatched=true",
    )
    name = "pixel_encoder/downsamples/0/conv/kernel"
    np.testing.assert_array_equal(after[name], named_variables(coco_model)[name])


@pytest.mark.parametrize("what", ["encoder", "other classes"])
def test_random_weights_are_not_evaluated(what, tiny_config, coco_model, coco_checkpoint, tmp_path):
    path = coco_checkpoint
    if what == "encoder":
        path = tf.train.Checkpoint(pixel_encoder=coco_model.pixel_encoder).write(str(tmp_path / "encoder"))
    overrides = [f"model_options.initial_checkpoint={path}", "model_options.restore.skip_mismatched=true"]
    with pytest.raises(CheckpointError, match="does not fit the model"):
        run_experiment(load_config(tiny_config, overrides), "eval", tmp_path / "run", make_strategy())


def test_missing_weights_of_the_encoder(tiny_config, tmp_path):
    with pytest.raises(CheckpointError, match="nothing.safetensors"):
        start(tiny_config, f"model_options.backbone.pretrained_weights={tmp_path / 'nothing.safetensors'}")

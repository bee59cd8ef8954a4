"""Going on with a run whose config has changed."""

import pathlib

import pytest

from kmax_tf import CheckpointError, ConfigError, load_checkpoint, load_config
from kmax_tf.checkpoints.origin import read_origin
from protos import descriptions
from protos.config import config_to_text
from protos.errors import UserError
from trainer.train import run_experiment
from trainer.training.checkpoints import saved_checkpoints
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment
from trainer.training.resuming import changed_fields, check_resumed_config

STEPS = "trainer_options.solver_options.training_number_of_steps="


def test_changed_fields(tiny_config):
    before = load_config(tiny_config)
    assert changed_fields(before, load_config(tiny_config)) == {}
    overrides = (
        "trainer_options.solver_options.base_learning_rate=0.5",
        "trainer_options.mixed_precision=BFLOAT16",
        "train_dataset_options.file_pattern=[a, b]",
        "train_dataset_options.crop_size=[97,97]",
        "model_options.restore={skip_mismatched: true}",
    )
    after = load_config(tiny_config, overrides)
    changes = changed_fields(before, after)
    assert changes["trainer_options.solver_options.base_learning_rate"] == ("0.002", "0.5")
    assert changes["trainer_options.mixed_precision"] == ("FLOAT32", "BFLOAT16")
    assert changes["train_dataset_options.file_pattern"][1] == "[a, b]"
    assert changes["train_dataset_options.crop_size"] == ("[65, 65]", "[97, 97]")
    assert changes["model_options.restore.skip_mismatched"] == ("False", "True")
    assert changes.keys() - {"train_dataset_options.max_resize_value", "train_dataset_options.min_resize_value"} == {
        override.partition("=")[0].replace("restore", "restore.skip_mismatched") for override in overrides
    }


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model_options.initial_checkpoint=/no/such/file", "initial_checkpoint: unset -> /no/such/file: it has no effect"),
        ("model_options.backbone.pretrained_weights=/no/file", "pretrained_weights: unset -> /no/file: it has no effect"),
        ("train_dataset_options.crop_size=[97,97]", "crop_size: [65, 65] -> [97, 97]: the run would mix"),
        ("train_dataset_options.dataset=coco_panoptic", "train_dataset_options.dataset: "),
        ("trainer_options.solver_options.optimizer=sgd", "optimizer: adamw -> sgd: "),
    ],
)
def test_settings_that_mix_two_runs_are_refused(run_config, model_dir, override, named):
    overrides = [override] + (["eval_dataset_options.dataset=coco_panoptic"] if "coco" in override else [])
    with pytest.raises(ConfigError) as refused:
        check_resumed_config(load_config(run_config, overrides), model_dir, str(model_dir / "ckpt-4"))
    message = str(refused.value)
    assert named in message and f"{model_dir} contains a run" in message and "another --model_dir" in message


def test_other_changes_are_printed(run_config, model_dir, capsys):
    overrides = (f"{STEPS}9", "train_dataset_options.batch_size=4")
    check_resumed_config(load_config(run_config, overrides), model_dir, str(model_dir / "ckpt-4"))
    lines = capsys.readouterr().out.splitlines()
    assert "changed since the run was last started: train_dataset_options.batch_size: 2 -> 4" in lines
    assert f"changed since the run was last started: {STEPS.rstrip('=')}: 4 -> 9" in lines and len(lines) == 2


def test_checkpoint_stands_in_for_a_config_that_is_gone(run_config, model_dir, capsys):
    (model_dir / "config.textproto").unlink()
    with pytest.raises(ConfigError, match="optimizer: adamw -> sgd"):
        config = load_config(run_config, ("trainer_options.solver_options.optimizer=sgd",))
        check_resumed_config(config, model_dir, str(model_dir / "ckpt-4"))
    for damaged in (b"not_a_field: 3", b"\xff\xfe\x00"):
        (model_dir / "config.textproto").write_bytes(damaged)
        with pytest.raises(ConfigError, match="optimizer: adamw -> sgd"):
            check_resumed_config(config, model_dir, str(model_dir / "ckpt-4"))


def test_checkpoints_know_what_made_them(run_config, trained):
    origin = read_origin(str(trained / "ckpt-4"))
    config = load_config(run_config)
    assert origin.config == config_to_text(config)
    assert origin.info() == descriptions.load("scenes_panoptic")


@pytest.fixture(scope="module")
def pets(tiny_config, tmp_path_factory) -> pathlib.Path:
    """The tiny config with as many classes of other names."""
    folder = tmp_path_factory.mktemp("pets")
    text = descriptions.to_text(descriptions.load("scenes_panoptic"))
    for name, other in (("disc", "cat"), ("box", "dog"), ("sky", "road")):
        assert f'name: "{name}"' in text
        text = text.replace(f'name: "{name}"', f'name: "{other}"')
    (folder / "pets.textproto").write_text(text.replace("scenes_panoptic", "pets"))
    (folder / "config.textproto").write_text(tiny_config.read_text().replace('"scenes_panoptic"', '"pets.textproto"'))
    return folder / "config.textproto"


def test_checkpoints_of_other_classes_are_refused(pets, trained):
    experiment = build_experiment(load_config(pets), make_strategy(), 0)
    with pytest.raises(CheckpointError) as refused:
        load_checkpoint(experiment.model, str(trained))
    message = str(refused.value)
    assert "class 1 cat (thing) of pets is 1 disc (thing)" in message and "2 dog (thing)" in message and "2 box" in message
    report = load_checkpoint(experiment.model, str(trained), skip_mismatched=True)
    assert not report.mismatched and not report.missing


def test_run_of_other_classes_is_not_continued(pets, model_dir):
    (model_dir / "config.textproto").unlink()
    before = sorted(path.name for path in model_dir.iterdir())
    with pytest.raises(
        ConfigError, match="train_dataset_options.dataset: scenes_panoptic -> .*pets.textproto: the run would mix"
    ):
        check_resumed_config(load_config(pets), model_dir, saved_checkpoints(model_dir)[0])
    # The records carry their classes too.
    for mode in ("train", "eval"):
        with pytest.raises(UserError, match="class 1 cat .thing. of pets is 1 disc"):
            run_experiment(load_config(pets), mode, model_dir, make_strategy())
    assert sorted(path.name for path in model_dir.iterdir()) == before

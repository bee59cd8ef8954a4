"""What a run needs is checked before its model is built."""

import pytest

from kmax_tf import load_config
from protos.errors import UserError
from trainer import train
from trainer.training.distribution import make_strategy


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    def build(*_):
        raise AssertionError("a model is built")

    monkeypatch.setattr(train, "build_experiment", build)


@pytest.mark.parametrize(
    ("mode", "override", "message"),
    [
        (
            "train_and_eval",
            "train_dataset_options.file_pattern=/gone/a-*",
            "train_dataset_options: .*'/gone/a-.' matches no file",
        ),
        (
            "train_and_eval",
            "eval_dataset_options.file_pattern=/gone/a-*",
            "eval_dataset_options: .*'/gone/a-.' matches no file",
        ),
        ("eval", "eval_dataset_options.file_pattern=/gone/a-*", "eval_dataset_options: .*'/gone/a-.' matches no file"),
        (
            "train",
            "model_options.initial_checkpoint=/gone/ckpt-1",
            "initial_checkpoint: /gone/ckpt-1: no such .*docs/weights.md",
        ),
        ("train", "model_options.backbone.pretrained_weights=/gone/a.h5", "pretrained_weights: /gone/a.h5: no such"),
        ("eval", "trainer_options.seed=1", "holds no checkpoint to evaluate, .*docs/weights.md"),
    ],
)
def test_files_that_are_missing(tiny_config, tmp_path, mode, override, message):
    with pytest.raises(UserError, match=message):
        train.run_experiment(load_config(tiny_config, [override]), mode, tmp_path / "run", make_strategy())


def test_an_encoder_file_is_no_initial_checkpoint(tiny_config, tmp_path):
    (tmp_path / "convnext.safetensors").touch()
    encoder, model = (
        load_config(tiny_config, [f"model_options.{field}={tmp_path}/convnext.safetensors"])
        for field in ("backbone.pretrained_weights", "initial_checkpoint")
    )
    with pytest.raises(AssertionError, match="a model is built"):
        train.run_experiment(encoder, "train", tmp_path / "run", make_strategy())
    with pytest.raises(
        UserError, match="initial_checkpoint: .* no such .*belongs in model_options.backbone.pretrained_weights"
    ):
        train.run_experiment(model, "train", tmp_path / "run", make_strategy())


def test_sections_that_a_mode_does_not_use_are_not_checked(tiny_config, tmp_path):
    config = load_config(tiny_config, ["eval_dataset_options.file_pattern=/gone/a-*"])
    with pytest.raises(AssertionError, match="a model is built"):
        train.run_experiment(config, "train", tmp_path / "run", make_strategy())


def test_records_of_other_classes(tiny_config, records, tmp_path):
    text = (records / ".conversion" / "train.textproto").read_text()
    (tmp_path / "other.textproto").write_text(text.replace('"disc"', '"disk"'))
    sections = ("train_dataset_options", "eval_dataset_options")
    config = load_config(tiny_config, [f"{section}.dataset={tmp_path}/other.textproto" for section in sections])
    with pytest.raises(UserError, match="train_dataset_options: .*was created with classes that differ .*disk"):
        train.run_experiment(config, "train", tmp_path / "run", make_strategy())

"""Checkpoints of a run: never a damaged one, and a seed that is kept."""

import pytest

from kmax_tf import CheckpointError, ConfigError, load_config
from kmax_tf.checkpoints.variable_names import named_variables
from trainer.checkpoints import RunCheckpoints
from trainer.distribution import make_strategy
from trainer.experiment import build_experiment
from trainer.train import run_seed


@pytest.fixture(scope="module")
def experiment(tiny_config):
    return build_experiment(load_config(tiny_config), make_strategy(), seed=0)


def _save_two(experiment, folder) -> RunCheckpoints:
    manager = RunCheckpoints(experiment, folder, lambda: None)
    centers = named_variables(experiment.model)["kmax_decoder/cluster_centers"]
    for step, value in ((1, 1.0), (2, 2.0)):
        experiment.global_step.assign(step)
        centers.assign(centers * 0 + value)
        manager.save(checkpoint_number=step, check_interval=False)
    return manager


@pytest.mark.parametrize(
    "damage", ["half the values", "no values", "half the index", "an empty index", "no list", "a binary list", "an empty list"]
)
def test_damaged_newest_checkpoint_falls_back_to_the_one_before(experiment, tmp_path, damage):
    _save_two(experiment, tmp_path)
    data, index, listed = (tmp_path / name for name in ("ckpt-2.data-00000-of-00001", "ckpt-2.index", "checkpoint"))
    if damage == "half the values":
        data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    elif "index" in damage:
        index.write_bytes(index.read_bytes()[: index.stat().st_size // 2 if "half" in damage else 0])
    else:
        # TensorFlow's list of checkpoints is lost along with the values.
        data.unlink()
        listed.unlink()
        if damage != "no list":
            listed.write_bytes(b"\xff\xfe\0" if "binary" in damage else b"")
    restored = RunCheckpoints(experiment, tmp_path, lambda: None).restore_or_initialize()
    assert restored.endswith("ckpt-1")
    assert experiment.global_step.numpy() == 1
    assert (named_variables(experiment.model)["kmax_decoder/cluster_centers"].numpy() == 1.0).all()


def test_no_readable_checkpoint_is_an_error_and_not_a_new_start(experiment, tmp_path):
    _save_two(experiment, tmp_path)
    for data in tmp_path.glob("ckpt-*.data*"):
        data.write_bytes(b"")
    initialized = []
    with pytest.raises(CheckpointError, match="none of the checkpoints is readable"):
        RunCheckpoints(experiment, tmp_path, lambda: initialized.append(1)).restore_or_initialize()
    assert initialized == []


def test_empty_folder_initializes(experiment, tmp_path):
    initialized = []
    assert RunCheckpoints(experiment, tmp_path, lambda: initialized.append(1)).restore_or_initialize() is None
    assert initialized == [1]


def test_seed_is_that_of_the_config_or_one_that_is_kept(tiny_config, tmp_path):
    config = load_config(tiny_config)
    assert run_seed(config, tmp_path) == 3
    config.trainer_options.ClearField("seed")
    drawn = run_seed(config, tmp_path)
    assert run_seed(config, tmp_path) == drawn
    assert 0 <= drawn < 2**31


@pytest.mark.parametrize("content", ["", "not a number\n", "1 2"])
def test_a_damaged_seed_is_not_replaced_by_another_one(tiny_config, tmp_path, content):
    config = load_config(tiny_config)
    config.trainer_options.ClearField("seed")
    (tmp_path / "seed").write_text(content)
    with pytest.raises(ConfigError, match="seed does not hold the seed of the run: set trainer_options.seed, or delete"):
        run_seed(config, tmp_path)

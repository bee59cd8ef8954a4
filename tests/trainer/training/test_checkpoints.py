"""Checkpoints of a run: never a damaged one, and a seed that is kept."""

import shutil

import pytest

from kmax_tf import CheckpointError, ConfigError, load_config
from kmax_tf.checkpoints.variable_names import named_variables
from trainer.train import run_seed
from trainer.training.best_checkpoint import best_checkpoint, keep_best
from trainer.training.checkpoints import RunCheckpoints
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment


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


def _evaluated(folder, step, pq):
    """Saves a checkpoint of `step` that has this PQ, and returns whether it is the best one."""
    for ending in ("index", "data-00000-of-00001"):
        (folder / f"ckpt-{step}.{ending}").write_text(f"{step} {ending}")
    return keep_best(folder, step, pq)


def test_the_best_checkpoint_is_kept(tmp_path):
    with pytest.raises(CheckpointError, match="keeps no best checkpoint: train_and_eval keeps one"):
        best_checkpoint(tmp_path)
    assert [_evaluated(tmp_path, 10, 20.0), _evaluated(tmp_path, 20, 35.5), _evaluated(tmp_path, 30, 35.5)] == [
        True,
        True,
        False,
    ]
    # Without labels, or without files, there is nothing to compare or to keep.
    assert not _evaluated(tmp_path, 40, None) and not keep_best(tmp_path, 50, 99.0)
    for file in tmp_path.glob("ckpt-*"):
        file.unlink()
    assert best_checkpoint(tmp_path) == f"{tmp_path}/best/ckpt-20"
    assert sorted(path.name for path in (tmp_path / "best").glob("*")) == [
        "best.json",
        "ckpt-20.data-00000-of-00001",
        "ckpt-20.index",
    ]
    assert (tmp_path / "best" / "ckpt-20.index").read_text() == "20 index"


def test_a_run_that_goes_back_forgets_what_it_reached_later(tmp_path):
    _evaluated(tmp_path, 20, 35.0)
    assert _evaluated(tmp_path, 10, 5.0) and not _evaluated(tmp_path, 12, 4.0)
    assert best_checkpoint(tmp_path).endswith("best/ckpt-10")


@pytest.mark.parametrize("content", ["", "[]", '{"step": 20}', '{"step": "x", "pq": 1}'])
def test_a_damaged_note_of_the_best_checkpoint(tmp_path, content):
    _evaluated(tmp_path, 20, 35.0)
    (tmp_path / "best" / "best.json").write_text(content)
    (tmp_path / "best" / ".ckpt-20.index.part").write_text("of a process that was killed")
    with pytest.raises(CheckpointError, match="keeps no best checkpoint"):
        best_checkpoint(tmp_path)
    assert _evaluated(tmp_path, 30, 5.0) and best_checkpoint(tmp_path).endswith("best/ckpt-30")
    assert not list((tmp_path / "best").glob(".*.part"))


def test_checkpoints_written_in_the_background_hold_the_values_of_their_step(tiny_config, tmp_path):
    config = load_config(tiny_config, ("trainer_options.background_checkpoints=true",))
    experiment = build_experiment(config, make_strategy(), seed=0)
    manager = _save_two(experiment, tmp_path / "run")
    centers = named_variables(experiment.model)["kmax_decoder/cluster_centers"]
    centers.assign(centers * 0 + 3.0)  # while the second one is being written
    manager.sync()
    for step in (1, 2):
        manager.restore(str(tmp_path / "run" / f"ckpt-{step}"))
        assert experiment.global_step.numpy() == step and (centers.numpy() == step).all()

    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").write_text("no folder")
    experiment.global_step.assign(3)
    manager.save(checkpoint_number=3, check_interval=False)
    with pytest.raises(CheckpointError, match="ckpt-3 could not be written"):
        manager.sync()


@pytest.mark.parametrize("content", ["", "not a number\n", "1 2"])
def test_a_damaged_seed_is_not_replaced_by_another_one(tiny_config, tmp_path, content):
    config = load_config(tiny_config)
    config.trainer_options.ClearField("seed")
    (tmp_path / "seed").write_text(content)
    with pytest.raises(ConfigError, match="seed does not hold the seed of the run: set trainer_options.seed, or delete"):
        run_seed(config, tmp_path)

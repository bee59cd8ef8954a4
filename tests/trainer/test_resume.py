"""A run that is stopped and started again ends where an uninterrupted one does, bit for bit."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import load_config
from kmax_tf.files.tensorflow_paths import literal_path
from trainer.train import run_experiment
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment
from trainer.training.run import Run


def _assert_equal_checkpoints(one: pathlib.Path, other: pathlib.Path) -> None:
    first, second = (tf.train.load_checkpoint(literal_path(str(path))) for path in (one, other))
    names = sorted(first.get_variable_to_shape_map())
    assert names == sorted(second.get_variable_to_shape_map())
    assert sum("optimizer/" in name for name in names) > 100 and sum("model/" in name for name in names) > 300
    # The graph of objects is no variable; its entries have no fixed order.
    names.remove("_CHECKPOINTABLE_OBJECT_GRAPH")
    different = [name for name in names if not np.array_equal(first.get_tensor(name), second.get_tensor(name))]
    assert different == []


def test_stopped_run_continues_exactly(trained, model_dir, run_config, capfd):
    """The shared run as if it had been killed between steps 2 and 4, while it wrote a checkpoint."""
    for path in (*model_dir.glob("ckpt-4*"), model_dir / "finished"):
        path.unlink()
    (model_dir / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"\nall_model_checkpoint_paths: "ckpt-2"\n')
    (model_dir / "ckpt-3_temp").mkdir()
    assert run_experiment(load_config(run_config), "train", model_dir, make_strategy()) == 0
    output = capfd.readouterr()
    # It compiles again, and knows the speed of the second step alone.
    assert "compiling the first step" in output.out
    assert f"{model_dir}/ckpt-2" in output.out + output.err, "the user's path, not a link to it"
    assert not (model_dir / "ckpt-3_temp").exists()
    assert tf.train.get_checkpoint_state(str(model_dir)).model_checkpoint_path == str(model_dir / "ckpt-4")
    _assert_equal_checkpoints(trained / "ckpt-4", model_dir / "ckpt-4")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_forty_steps_equal_twenty_and_twenty(tiny_config, tmp_path):
    length = "trainer_options.solver_options.training_number_of_steps=40"
    config = load_config(tiny_config, ("trainer_options.deterministic=true", length))
    for folder, stops in (("straight", (40,)), ("stopped", (20, 40))):
        for stop in stops:
            experiment = build_experiment(config, make_strategy(), config.trainer_options.seed)
            Run(experiment, "train", tmp_path / folder).controller.train(stop)
    _assert_equal_checkpoints(tmp_path / "straight" / "ckpt-40", tmp_path / "stopped" / "ckpt-40")

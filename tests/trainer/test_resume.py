"""A run that is stopped and started again ends where an uninterrupted one does, bit for bit."""

import pathlib

import numpy as np
import pytest

from kmax_tf import load_config
from kmax_tf.checkpoints.variable_names import named_variables
from trainer.distribution import make_strategy
from trainer.experiment import Experiment, build_experiment
from trainer.train import Run


def _train(config_path: pathlib.Path, model_dir: pathlib.Path, stop_at: int | None = None, *overrides: str) -> Experiment:
    """Trains to the last step, or stops after step `stop_at` as a signal would; new objects every time."""
    config = load_config(config_path, ("trainer_options.deterministic=true", *overrides))
    experiment = build_experiment(config, make_strategy(), config.trainer_options.seed)
    run = Run(config, "train", model_dir, experiment)
    if stop_at is None:
        run.train()
    else:
        run.controller.train(stop_at)
    return experiment


def _state(experiment: Experiment) -> dict[str, np.ndarray]:
    state = {name: v.numpy() for name, v in named_variables(experiment.model).items()}
    for title in ("optimizer", "encoder_optimizer"):
        variables = getattr(experiment, title).variables
        state |= {f"{title}/{i}": v.numpy() for i, v in enumerate(variables)}
    return state | {"global_step": experiment.global_step.numpy()}


def _assert_resumes_exactly(config: pathlib.Path, folder: pathlib.Path, steps: int) -> None:
    length = f"trainer_options.solver_options.training_number_of_steps={steps}"
    straight = _state(_train(config, folder / "straight", None, length))
    _train(config, folder / "stopped", steps // 2, length)
    resumed = _state(_train(config, folder / "stopped", None, length))
    assert straight.keys() == resumed.keys()
    assert straight["global_step"] == steps
    assert sum("optimizer/" in key for key in straight) > 100
    different = [key for key in straight if not np.array_equal(straight[key], resumed[key])]
    assert different == []


def test_stopped_run_continues_exactly(tiny_config, tmp_path):
    _assert_resumes_exactly(tiny_config, tmp_path, 4)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_forty_steps_equal_twenty_and_twenty(tiny_config, tmp_path):
    _assert_resumes_exactly(tiny_config, tmp_path, 40)

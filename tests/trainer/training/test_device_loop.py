"""Steps that run in one call of TensorFlow are those of the Python loop, bit for bit, and are checked one by one."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import load_config
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment
from trainer.training.stopping import StopRequested
from trainer.training.train_loop import NonFiniteLossError, TrainLoop


class RecordingLoop(TrainLoop):
    """Keeps the loss terms of each step."""

    def _check(self, history):
        self.history = history
        return super()._check(history)


def test_steps_equal_those_of_the_python_loop(tiny_config, tmp_path, capsys):
    experiment = build_experiment(load_config(tiny_config, ("trainer_options.deterministic=true",)), make_strategy(), seed=7)
    variables = [*experiment.model.variables, *experiment.optimizer.variables, *experiment.encoder_optimizer.variables]
    variables.append(experiment.global_step)
    initial = [v.numpy() for v in variables]
    results = []
    for on_device in (False, True):
        for variable, value in zip(variables, initial):
            variable.assign(value)
        experiment.config.trainer_options.loop_on_device = on_device
        loop = RecordingLoop(experiment, tmp_path, threading.Event())
        result = {}
        for steps in (3, 2):
            loop.train(tf.constant(steps))
            result |= {f"{name}, {steps} steps": values for name, values in loop.history.items()}
        assert experiment.global_step.numpy() == 5
        assert loop._constant_terms._last == {name: values[-1] for name, values in loop.history.items()}
        assert loop._run.experimental_get_tracing_count() == 1
        results.append(result | {f"{i} {v.name}": v.numpy() for i, v in enumerate(variables)})
    python, device = results
    assert python.keys() == device.keys() and len(python) > 500
    assert device["total_loss, 3 steps"].shape == (3,) and len(set(device["total_loss, 3 steps"])) == 3
    assert [name for name, value in python.items() if not np.array_equal(value, device[name])] == []

    later = {name: np.array([1, np.nan, 1, np.nan]) for name in loop.history}
    with pytest.raises(NonFiniteLossError, match=r"^step 3: the loss is not finite .*Images of the step: train_"):
        loop._check(later)

    experiment.config.trainer_options.solver_options.skip_nonfinite_steps = True
    assert loop._check(later).tolist() == [True, False, True, False]
    assert "2 of the steps up to 5 had gradients that are not finite" in capsys.readouterr().out
    nothing_finite = {name: np.full(10, np.nan) for name in loop.history}
    loop._check(nothing_finite)  # 11 in a row
    with pytest.raises(NonFiniteLossError):
        loop._check(nothing_finite)
    experiment.config.trainer_options.solver_options.skip_nonfinite_steps = False

    loop._stop.set()
    with pytest.raises(StopRequested):  # after the loop
        loop.train(tf.constant(2))
    assert experiment.global_step.numpy() == 7

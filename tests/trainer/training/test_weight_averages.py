"""Averages of the weights: their values, and who uses which weights."""

import contextlib
import pathlib

import numpy as np
import tensorflow as tf

from kmax_tf import build_model, load_checkpoint, load_config
from kmax_tf.checkpoints.variable_names import named_variables
from trainer.training.checkpoints import RunCheckpoints
from trainer.training.distribution import make_strategy
from trainer.training.experiment import Experiment, build_experiment

KERNEL = "kmax_decoder/cluster_centers"
DECAY = 0.6


def small_experiment(path: pathlib.Path, decay: float = DECAY, strategy: tf.distribute.Strategy | None = None) -> Experiment:
    config = load_config(path, (f"trainer_options.solver_options.ema_decay={decay}",))
    return build_experiment(config, strategy or make_strategy(), seed=0)


def values(experiment: Experiment) -> dict[str, np.ndarray]:
    return {name: v.numpy() for name, v in named_variables(experiment.model).items()}


def test_averages_follow_the_formula(tiny_config):
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    experiment = small_experiment(tiny_config, strategy=strategy)
    weight = named_variables(experiment.model)[KERNEL]
    expected = weight.numpy()

    @tf.function(autograph=False)
    def follow() -> None:
        strategy.run(lambda: experiment.averages.update(experiment.global_step))
        experiment.global_step.assign_add(1)

    for step in range(5):
        weight.assign(np.full(weight.shape, step + 1.0))
        follow()
        decay = min(DECAY, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1.0)
    np.testing.assert_allclose(experiment.averages.values[KERNEL].numpy(), expected, rtol=1e-6)


def test_evaluation_and_loading_use_the_averages_and_training_the_weights(tiny_config, tmp_path):
    experiment = small_experiment(tiny_config)
    weights = values(experiment)
    for average in experiment.averages.values.values():
        average.assign_add(tf.ones_like(average))
    statistics = set(weights) - set(experiment.averages.values)
    averages = {name: value + (name not in statistics) for name, value in weights.items()}
    assert all(name.endswith(("moving_mean", "moving_variance")) for name in statistics) and statistics

    with contextlib.suppress(ZeroDivisionError), experiment.averages.applied():
        assert_same(values(experiment), averages)
        raise ZeroDivisionError
    assert_same(values(experiment), weights)
    with experiment.inference_weights():
        folded = values(experiment)
        assert_same({KERNEL: folded[KERNEL]}, {KERNEL: averages[KERNEL]})  # the input of no norm
        assert_same({name: folded[name] for name in statistics}, {name: averages[name] for name in statistics})
        assert sum(not np.array_equal(folded[name], value) for name, value in averages.items()) > 20
    assert_same(values(experiment), weights)

    path = RunCheckpoints(experiment, tmp_path, lambda: None).save(0)
    model = build_model(experiment.config)
    report = load_checkpoint(model, path)
    assert_same({name: v.numpy() for name, v in named_variables(model).items()}, averages)
    assert set(report.loaded) == set(weights)

    for average in experiment.averages.values.values():
        average.assign(tf.zeros_like(average))
    RunCheckpoints(experiment, tmp_path, lambda: None).restore_or_initialize()
    assert_same(values(experiment), weights)
    assert_same({name: v.numpy() for name, v in experiment.averages.values.items()}, averages)


def test_averages_can_begin_and_end_during_a_run(tiny_config, tmp_path, capsys):
    without, with_averages = small_experiment(tiny_config, 0), small_experiment(tiny_config)
    for average in with_averages.averages.values.values():
        average.assign(tf.zeros_like(average))
    path = RunCheckpoints(without, tmp_path, lambda: None).save(0)
    RunCheckpoints(with_averages, tmp_path, lambda: None).restore_or_initialize()
    assert f"{path} has no averages of the weights" in capsys.readouterr().out
    weights = values(without)
    assert_same({name: v.numpy() for name, v in with_averages.averages.values.items()}, weights)
    RunCheckpoints(with_averages, tmp_path, lambda: None).save(1)
    assert RunCheckpoints(without, tmp_path, lambda: None).restore_or_initialize().endswith("ckpt-1")


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)

"""Two devices make the step of one: same examples, statistics of the whole batch, gradients added up."""

import json
import pathlib
import types

import numpy as np
import pytest
from command_line import run_script

from kmax_tf import load_config
from protos.descriptions import ConfigError
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment


def _step(config: pathlib.Path, devices: int, *overrides: str) -> tuple[dict[str, float], dict[str, float], str]:
    """Loss terms, norms of variables and metrics of a process of its own, in which logical devices can be set up."""
    result = run_script("tests/helpers/one_step.py", config, str(devices), *overrides)
    assert result.returncode == 0, result.stderr[-3000:]
    found = {line.split(" ", 1)[0]: line for line in result.stdout.splitlines()}
    return json.loads(found["TERMS"][6:]), json.loads(found["NORMS"][6:]), found["evaluation"]


def test_two_replicas_equal_one(tiny_config):
    one, two = _step(tiny_config, 1), _step(tiny_config, 2)
    assert one[0].keys() == two[0].keys()
    for name, value in one[0].items():
        np.testing.assert_allclose(two[0][name], value, rtol=1e-4, err_msg=name)
    assert len(one[1]) > 200
    for name, value in one[1].items():
        np.testing.assert_allclose(two[1][name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert one[2] == two[2], "the last batch of three images is filled up for two devices"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_compiled_and_accumulated_step_of_two_replicas(tiny_config):
    """Without sums inside of batch norm, replicas are compiled, and accumulate in a loop."""
    alone = ("trainer_options.solver_options.use_sync_batchnorm=false", "train_dataset_options.batch_size=4")
    plain = _step(tiny_config, 2, *alone, "trainer_options.accumulate_steps=2")
    compiled = _step(tiny_config, 2, *alone, "trainer_options.accumulate_steps=2", "trainer_options.jit_compile=true")
    for index in (0, 1):
        assert plain[index].keys() == compiled[index].keys()
        for name, value in plain[index].items():
            np.testing.assert_allclose(compiled[index][name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def test_what_cannot_be_compiled_is_refused(tiny_config):
    config = load_config(tiny_config, ("trainer_options.jit_compile=true",))
    with pytest.raises(ConfigError, match="jit_compile on several devices needs solver_options.use_sync_batchnorm: false"):
        build_experiment(config, types.SimpleNamespace(num_replicas_in_sync=2), seed=0)


def test_missing_devices_are_named():
    with pytest.raises(ConfigError, match="TensorFlow sees 0 GPUs"):
        make_strategy(num_gpus=2)
    with pytest.raises(ConfigError, match="are mutually exclusive"):
        make_strategy(master="local", num_gpus=1)

"""Two devices make the step of one: same examples, statistics of the whole batch, gradients added up."""

import json
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
from command_line import ROOT

from kmax_tf import load_config
from protos.descriptions import ConfigError
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment

# In a process of its own: logical devices must be set up before TensorFlow starts.
_STEP = """
import json, pathlib, sys, tempfile, threading
import tensorflow as tf
devices = int(sys.argv[2])
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * devices)
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # starts sooner
from kmax_tf import load_config
from kmax_tf.checkpoints.variable_names import named_variables
from kmax_tf.pixel_encoders import convnext
from trainer.evaluation.eval_loop import EvalLoop
from trainer.training.experiment import build_experiment
from trainer.training.train_loop import TrainLoop
# One block a stage is traced soonest.
convnext.VARIANTS["atto"] = convnext.Variant((1, 1, 1, 1), (8, 16, 32, 64))
strategy = tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(devices)])
config = load_config(sys.argv[1], (
    "model_options.backbone.drop_path_keep_prob=1", "model_options.decoder.use_semantic_decoder=false",
    "model_options.max_deeplab.transformer_decoder_drop_path_keep_prob=1",
    "model_options.max_deeplab.instance_discrimination_sample_k=289",
    "trainer_options.solver_options.optimizer=sgd", "trainer_options.solver_options.warmup_steps=0", *sys.argv[3:]))
experiment = build_experiment(config, strategy, seed=0)
folder = pathlib.Path(tempfile.mkdtemp())
loop = TrainLoop(experiment, folder, threading.Event())
loop._report = lambda terms, *_: print("TERMS", json.dumps(terms))
loop.train(tf.constant(1))
assert loop._run.experimental_get_tracing_count() == 1
norms = {k: float(tf.norm(v)) for k, v in named_variables(experiment.model).items()}
print("NORMS", json.dumps(norms))
EvalLoop(experiment, folder, threading.Event()).evaluate(tf.constant(-1))
"""


def _step(config: pathlib.Path, devices: int, *overrides: str) -> tuple[dict[str, float], dict[str, float], str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", _STEP, str(config), str(devices), *overrides]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
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
    with pytest.raises(ConfigError, match="exclude each other"):
        make_strategy(master="local", num_gpus=1)

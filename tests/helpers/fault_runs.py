"""Runs whose process is killed at a chosen moment, and commands as a user sees them end."""

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.cli.command import exit_code
from kmax_tf.files.tensorflow_paths import literal_path

_ROOT = pathlib.Path(__file__).resolve().parents[2]
# Trains as the fixture `trained` does, whose results it has to reproduce bit by bit.
_TRAIN = """
import pathlib, sys
sys.path[:0] = [sys.argv[1]]
import tensorflow as tf
from kmax_tf import load_config
from trainer.training.distribution import make_strategy
from trainer.train import run_experiment
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
run_experiment(load_config(sys.argv[2]), "train_and_eval", pathlib.Path(sys.argv[3]), make_strategy())
"""
_DEADLINE = 280.0


def killed_training(config: pathlib.Path, model_dir: pathlib.Path, moment: Callable[[], object], *, after: float = 0.0) -> None:
    """Starts a training and kills it `after` seconds from when `moment` first returns something true."""
    killed([sys.executable, "-c", _TRAIN, str(_ROOT), str(config), str(model_dir)], moment, after=after)


def killed(command: list[str], moment: Callable[[], object], *, after: float = 0.0) -> None:
    """Starts a command and kills its process group as in killed_training; fails if it ends before."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        os.set_blocking(process.stdout.fileno(), False)
        output, deadline = b"", time.monotonic() + _DEADLINE
        while not moment():
            output += process.stdout.read() or b""
            assert process.poll() is None, output.decode(errors="replace")[-3000:]
            assert time.monotonic() < deadline, "the moment never came"
            time.sleep(0.0005)
        time.sleep(after)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the process had ended before it was killed"


def failure(capsys: pytest.CaptureFixture, main: Callable[[], int | None]) -> str:
    """The one message with which a command ends that a user can do something about."""
    assert exit_code(main, [], interrupted="") == 1
    before, marker, message = capsys.readouterr().err.partition("error: ")
    assert marker and "error: " not in message and "Traceback" not in before + message
    return message


def assert_equal_checkpoints(one: pathlib.Path, other: pathlib.Path) -> None:
    """Weights, slots, steps and averages of two checkpoints are equal bit by bit."""
    first, second = (tf.train.load_checkpoint(literal_path(str(path))) for path in (one, other))
    names = sorted(first.get_variable_to_shape_map())
    assert names == sorted(second.get_variable_to_shape_map())
    # The graph of objects is no variable; its entries have no fixed order.
    names.remove("_CHECKPOINTABLE_OBJECT_GRAPH")
    assert [name for name in names if not np.array_equal(first.get_tensor(name), second.get_tensor(name))] == []

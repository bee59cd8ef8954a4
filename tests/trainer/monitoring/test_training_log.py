"""What a training writes down: numbers, what made it, and profiles."""

import json

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kmax_tf import load_config
from protos.errors import UserError
from trainer.monitoring.profiling import StepProfile, parse_steps
from trainer.monitoring.training_log import TrainingLog
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment
from trainer.training.run import Run
from trainer.training.train_step import GRADIENT_NORM


def test_file_and_tensorboard_have_the_same_numbers(trained):
    lines = [json.loads(line) for line in (trained / "train" / "metrics.jsonl").read_text().splitlines()]
    assert [line.pop("step") for line in lines] == [2, 4]
    events = EventAccumulator(str(trained / "train"))
    events.Reload()
    for key, value in lines[-1].items():
        tag = key if key in events.Tags()["tensors"] else f"losses/train_{key}"
        event = events.Tensors(tag)[-1]
        assert event.step == 4
        assert float(tf.make_ndarray(event.tensor_proto)) == pytest.approx(value, rel=1e-5), key
    assert {"total_loss", "learning_rate", GRADIENT_NORM, "memory/host_gb", "input_wait_share"} <= set(lines[0])
    assert lines[0][GRADIENT_NORM] > 0


def test_tensorboard_says_what_made_the_run(trained):
    events = EventAccumulator(str(trained / "train"))
    events.Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("run/")]
    texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in tags}
    assert 'experiment_name: "run"' in texts["run/config"]
    assert f"TensorFlow {tf.__version__}" in texts["run/version"]
    assert texts["run/command"].startswith("    ")


def test_resumed_run_replaces_the_lines_after_its_step(tmp_path):
    log = TrainingLog(tmp_path, 0)
    for step in (10, 20, 30):
        log.add(step, {"total_loss": step / 7}, {"learning_rate": 0.5})
    path = tmp_path / "train" / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"step": 40, "tot')  # a process was killed here
    TrainingLog(tmp_path, 20).add(30, {"total_loss": 9.0}, {})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["step"], line["total_loss"]) for line in lines] == [(10, 1.428571), (20, 2.857143), (30, 9.0)]


@pytest.fixture
def calls(monkeypatch):
    """The calls of TensorFlow's profiler."""
    found = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: found.append("start"))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: found.append("stop"))
    return found


def test_profile_covers_the_steps_that_were_asked_for(tmp_path, calls):
    profile = StepProfile(3, 4, tmp_path)
    for step in range(1, 7):
        with profile.around(step, step):
            calls.append(step)
    assert calls == [1, 2, "start", 3, 4, "stop", 5, 6]
    calls.clear()
    for first in (1, 3, 5):  # loops of two steps on the device
        with profile.around(first, first + 1):
            calls.append(first)
    assert calls == [1, "start", 3, "stop", 5]


@pytest.mark.usefixtures("untrained")
def test_profile_of_a_training_that_ends_inside_it(tiny_config, tmp_path, calls, capsys):
    experiment = build_experiment(load_config(tiny_config), make_strategy(), seed=0)
    stopped, continued = (Run(experiment, "train", tmp_path, StepProfile(first, 99, tmp_path)) for first in (1, 5))
    stopped.stop.set()
    assert stopped.train() != 0 and experiment.global_step.numpy() == 1
    assert continued.train() == 0 and experiment.global_step.numpy() == 8
    assert calls == ["start", "stop"] * 2
    assert capsys.readouterr().out.count("wrote a profile to") == 2


@pytest.mark.parametrize("text", ["5", "5,", "5,4", "0,3", "a,b"])
def test_other_steps_are_refused(text):
    with pytest.raises(UserError, match="--profile_steps=.*: write the first and the last step"):
        parse_steps(text)
    assert parse_steps(" 3, 10") == (3, 10)

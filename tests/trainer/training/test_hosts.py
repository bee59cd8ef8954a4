"""Several hosts make the steps of one, agree with each other, and end when one of them is lost."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from command_line import ROOT
from tiny_config import TINY

from kmax_tf import load_config
from protos.descriptions import ConfigError
from protos.errors import UserError
from trainer.train import run_experiment
from trainer.training import checkpoints
from trainer.training.checkpoints import RunCheckpoints, saved_checkpoints
from trainer.training.distribution import from_chief, hosts_of_cluster, lost_host, make_strategy, sum_over_hosts
from trainer.training.experiment import build_experiment

THREE_STEPS = ROOT / "tests" / "helpers" / "three_steps.py"


def test_hosts_are_those_of_tf_config():
    task = {"type": "worker", "index": 1}
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    assert hosts_of_cluster(json.dumps({"cluster": cluster, "task": task})) == ["a:1", "b:1", "c:1"]
    assert hosts_of_cluster("") == hosts_of_cluster("{}") == []


@pytest.mark.parametrize(
    "text",
    [
        "worker0:2222",
        "[]",
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}',
    ],
)
def test_wrong_tf_config_is_refused(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match='TF_CONFIG is .*; it must look like {"cluster"'):
        make_strategy()


def test_parameter_servers_are_refused():
    text = '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}'
    with pytest.raises(ConfigError, match="must be chief and worker, not worker, ps"):
        hosts_of_cluster(text)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            "Graph execution error:\n\nDetected at X\n\nCollective ops is aborted by: Connection reset by peer\nMore",
            "Connection reset by peer",
        ),
        ("failed to connect to all addresses\nmore", "failed to connect to all addresses"),
    ],
)
def test_lost_host_is_explained_in_one_line(text, cause):
    error = tf.errors.UnavailableError(None, None, text)
    assert lost_host(error) == f"another host of this run has ended or cannot be reached, so this one ends, too ({cause})"


def test_one_host_agrees_with_itself():
    strategy = make_strategy()
    assert sum_over_hosts(strategy, 2**40 + 1) == from_chief(strategy, 2**40 + 1) == 2**40 + 1


def test_hosts_but_the_chief_write_no_checkpoints(tiny_config, tmp_path, monkeypatch):
    experiment = build_experiment(load_config(tiny_config), make_strategy(), seed=0)
    monkeypatch.setattr(checkpoints, "is_chief", lambda strategy: False)
    other = RunCheckpoints(experiment, tmp_path, lambda: None)
    assert other.restore_or_initialize() is None
    other.save()
    assert list(tmp_path.iterdir()) == list(pathlib.Path(other.directory).glob("*.data*")) == []
    monkeypatch.undo()
    chief = RunCheckpoints(experiment, tmp_path, lambda: None)
    experiment.global_step.assign(7)
    assert chief.save() == saved_checkpoints(tmp_path)[0]
    experiment.global_step.assign(0)
    assert other.restore_or_initialize() == saved_checkpoints(tmp_path)[0]
    assert experiment.global_step.numpy() == 7
    monkeypatch.setattr(checkpoints, "from_chief", lambda strategy, step: 5)
    with pytest.raises(ConfigError, match="goes on from step 7 .*, others from another one"):
        other.restore_or_initialize()


def _environment(index: int | None, ports: list[int]) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if index is not None:
        cluster = {"worker": [f"localhost:{port}" for port in ports]}
        environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
    return environment


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _three_steps(config: pathlib.Path, folder: pathlib.Path, devices: int, hosts: int) -> list[dict[str, np.ndarray]]:
    """The results of each process."""
    ports = _free_ports(hosts)
    paths = [folder / f"{devices}_devices_{hosts}_hosts_{i}.npz" for i in range(hosts)]
    processes = [
        subprocess.Popen(
            [sys.executable, THREE_STEPS, config, str(devices), path],
            env=_environment(i if hosts > 1 else None, ports),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for i, path in enumerate(paths)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors[-3000:]
    return [dict(np.load(path)) for path in paths]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_hosts_and_two_devices_equal_one(tiny_config, tmp_path):
    (one,) = _three_steps(tiny_config, tmp_path, devices=1, hosts=1)
    (two_devices,) = _three_steps(tiny_config, tmp_path, devices=2, hosts=1)
    hosts = _three_steps(tiny_config, tmp_path, devices=1, hosts=2)
    assert [bool(result["spans_hosts"]) for result in (one, two_devices, *hosts)] == [False, False, True, True]
    # Each replica sees its part of each step's images.
    parts = [result["images"].reshape(3, 2) for result in hosts]
    np.testing.assert_array_equal(np.concatenate(parts, 1).ravel(), one["images"])
    np.testing.assert_array_equal(two_devices["images"], one["images"])
    names = [name for name in one if name.startswith(("loss/", "variable/"))]
    assert len(names) > 300
    for name in names:
        for other in (two_devices, *hosts):
            np.testing.assert_allclose(other[name], one[name], rtol=1e-5, atol=1e-5, err_msg=name)
    assert json.loads(str(hosts[0]["metrics"])) == json.loads(str(one["metrics"]))
    assert str(hosts[1]["metrics"]) == "", "the chief alone writes"


def _start(config: pathlib.Path, model_dir: pathlib.Path, ports: list[int], *flags: str) -> list[subprocess.Popen]:
    command = [sys.executable, ROOT / "trainer" / "train.py", f"--config_file={config}", f"--model_dir={model_dir}", *flags]
    logs = [model_dir.parent / f"{model_dir.name}_{i}.log" for i in range(2)]
    return [
        subprocess.Popen(command, env=_environment(i, ports), stderr=log.open("a"), stdout=log.open("a"))
        for i, log in enumerate(logs)
    ]


def _wait_for_step(model_dir: pathlib.Path, process: subprocess.Popen, step: int) -> None:
    deadline = time.monotonic() + 900
    while not any(int(path.rpartition("-")[2]) >= step for path in saved_checkpoints(model_dir)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("lost", [0, 1], ids=("chief", "other"))
def test_run_ends_with_a_lost_host_and_continues(records, tmp_path, lost):
    config = tmp_path / "tiny.textproto"
    config.write_text(TINY.replace("RECORDS", str(records)).replace("save_checkpoints_steps: 100", "save_checkpoints_steps: 2"))
    model_dir, ports = tmp_path / "model", _free_ports(2)
    length = "--override=trainer_options.solver_options.training_number_of_steps="
    processes = _start(config, model_dir, ports, "--mode=train", f"{length}100000")
    _wait_for_step(model_dir, processes[0], 2)
    processes[lost].send_signal(signal.SIGKILL)
    assert processes[1 - lost].wait(timeout=300) == 1
    log = (tmp_path / f"model_{1 - lost}.log").read_text()
    errors = [line for line in log.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "another host of this run has ended" in errors[0] and "Traceback" not in log
    (newest, *_) = saved_checkpoints(model_dir)
    assert f"{newest} holds the state of the run" in errors[0]

    step = int(newest.rpartition("-")[2]) + 4
    processes = _start(config, model_dir, _free_ports(2), f"{length}{step}")
    assert [process.wait(timeout=900) for process in processes] == [0, 0]
    assert (model_dir / "finished").read_text() == f"{step}\n"
    assert json.loads((model_dir / "eval" / "metrics.json").read_text())["step"] == step
    assert not list(model_dir.rglob("*temp*"))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_signal_to_one_host_stops_all_after_the_same_step(records, tmp_path):
    config = tmp_path / "tiny.textproto"
    config.write_text(TINY.replace("RECORDS", str(records)))
    model_dir = tmp_path / "model"
    length = "--override=trainer_options.solver_options.training_number_of_steps=100000"
    processes = _start(config, model_dir, _free_ports(2), "--mode=train", length)
    log = tmp_path / "model_0.log"
    deadline = time.monotonic() + 900
    while "step 2/" not in log.read_text():
        assert processes[0].poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    processes[1].send_signal(signal.SIGTERM)
    codes = [process.wait(timeout=120) for process in processes]
    assert codes == [143, 143] and "Traceback" not in log.read_text()
    step = int(saved_checkpoints(model_dir)[0].rpartition("-")[2])
    assert f"stopped at step {step}; the same command continues" in log.read_text()


def test_continuous_evaluation_runs_on_one_host(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.train.spans_hosts", lambda strategy: True)
    with pytest.raises(ConfigError, match="continuous_eval runs on one host"):
        run_experiment(load_config(tiny_config), "continuous_eval", tmp_path, tf.distribute.get_strategy())


def test_host_that_waits_in_vain_for_the_chief_says_so(tiny_config, tmp_path, monkeypatch):
    def lose(*_):
        raise tf.errors.UnavailableError(None, None, "Connection reset by peer")

    monkeypatch.setattr("trainer.train.spans_hosts", lambda strategy: True)
    monkeypatch.setattr("trainer.train.is_chief", lambda strategy: False)
    monkeypatch.setattr("trainer.train.from_chief", lose)
    with pytest.raises(UserError, match=r"^another host .* \(Connection reset by peer\). The run has not saved anything;"):
        run_experiment(load_config(tiny_config), "train", tmp_path / "model", tf.distribute.get_strategy())
    assert not (tmp_path / "model").exists()

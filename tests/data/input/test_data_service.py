"""The training input on the workers of a tf.data service: other processes, which have TensorFlow and none of our code."""

import os
import subprocess
import sys
import types

import numpy as np
import pytest
from bad_records import write_bad_records
from google.protobuf import text_format
from panoptic_fixtures import INFO, write_records
from tensorflow.data.experimental.service import DispatcherConfig, DispatchServer

from data.input import data_service, pipeline
from data.input.data_service import ServiceTimeout
from data.records.schema import DataError
from protos import dataset_pb2
from protos.descriptions import ConfigError

_WORKER = """
import sys
from tensorflow.data.experimental import service
server = service.WorkerServer(service.WorkerConfig(sys.argv[1].removeprefix("grpc://")))
print("ready", flush=True)
server.join()
"""
_BATCH = 4


@pytest.fixture
def service(tmp_path):
    """The address of a service, and `start`, which starts one more worker process in another folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    dispatcher = DispatchServer(DispatcherConfig(port=0))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    processes = []

    def start():
        command = [sys.executable, "-c", _WORKER, dispatcher.target]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        processes.append(subprocess.Popen(command, cwd=folder, env=environment, **pipes))
        return processes[-1]

    try:
        yield types.SimpleNamespace(address=dispatcher.target, start=start)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _wait_for_start(*workers):
    assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * len(workers)


def _options(path, address=""):
    return text_format.Parse(
        f"""file_pattern: "{path}/*.tfrecord" crop_size: [33, 33] max_thing_id: 40 data_service: "{address}"
        augmentations {{
          min_scale_factor: 0.5 max_scale_factor: 2 autoaugment_policy_name: "simple_classification_policy"
          panoptic_copy_paste {{ panoptic_copy_paste_scale: 0.5 }}
        }}""",
        dataset_pb2.DatasetOptions(),
    )


def _dataset(options, **arguments):
    return pipeline.training_dataset(options, INFO, seed=5, batch_size=_BATCH, **arguments)


def _assert_equal(one, other):
    assert set(one) == set(other)
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_one_worker_makes_the_batches_of_this_process(service, tmp_path, monkeypatch):
    write_records(tmp_path / "a.tfrecord", 7)
    monkeypatch.chdir(tmp_path)
    _wait_for_start(service.start())
    arguments = {"start_step": 3, "shard": 1, "num_shards": 2}
    made = _dataset(_options(".", service.address), **arguments).take(6).as_numpy_iterator()
    expected = _dataset(_options("."), **arguments).take(6).as_numpy_iterator()
    for one, other in zip(made, expected, strict=True):
        _assert_equal(one, other)
    write_bad_records(tmp_path / "b.tfrecord", "class")
    options = _options(tmp_path, service.address)
    problems = pipeline.input_problems(options)
    with pytest.raises(DataError, match="b.tfrecord record 0 .street.: the label has class id 9"):
        list(problems.batches(_dataset(options, problems=problems).take(8)))


def test_several_workers_share_the_steps_until_they_end(service, tmp_path, monkeypatch):
    first, second = service.start(), service.start()
    write_records(tmp_path / "a.tfrecord", 8)
    expected = list(_dataset(_options(tmp_path)).take(140).as_numpy_iterator())
    steps = {batch["image"].tobytes(): step for step, batch in enumerate(expected)}
    _wait_for_start(first, second)
    iterator = _dataset(_options(tmp_path, service.address)).as_numpy_iterator()
    timeout = ServiceTimeout(service.address)
    seen = []

    def receive(count):
        for _ in range(count):
            batch = timeout.wait_for(lambda: next(iterator))
            seen.append(steps[batch["image"].tobytes()])
            _assert_equal(batch, expected[seen[-1]])

    receive(40)
    assert len(set(seen)) == 40, "no step twice"
    # Every step once: what is missing is in preparation.
    assert set(range(40 - 20)) <= set(seen) <= set(range(40 + 20))
    first.kill()
    receive(40)
    assert len(set(seen)) == 80, "the other worker goes on"
    second.kill()
    monkeypatch.setattr(data_service, "_SILENCE_SECONDS", 4.0)
    with pytest.raises(
        DataError, match=f"data_service {service.address} has sent nothing for 4 seconds: have its workers ended"
    ):
        receive(60)


def test_addresses_without_a_service(tmp_path):
    write_records(tmp_path / "a.tfrecord", 1)
    with pytest.raises(ConfigError, match="data_service grpc://localhost:1: .*refused.*start it as in docs/data_service.md"):
        _dataset(_options(tmp_path, "grpc://localhost:1"))
    with pytest.raises(ConfigError, match="data_service grpc://localhost:70000: .*: start it as in docs/data_service.md"):
        _dataset(_options(tmp_path, "grpc://localhost:70000"))


def test_errors_while_waiting_reach_the_caller():
    timeout = ServiceTimeout("grpc://anywhere:1")
    assert timeout.wait_for(lambda: 7) == 7
    with pytest.raises(StopIteration):
        timeout.wait_for(lambda: next(iter(())))
    assert timeout.wait_for(lambda: 8) == 8

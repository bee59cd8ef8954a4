"""Tasks in separate processes: results, progress, errors, crashes and separate peak memory."""

import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from protos.descriptions import ConfigError
from protos.errors import UserError
from trainer.measure.fresh_process import run_alone
from trainer.measure.jobs import peak_host_memory

pytestmark = pytest.mark.usefixtures("processes_with_tensorflow")


def _peak_with(mebibytes: int, *, progress) -> tuple[int, float]:
    progress("allocating")
    held = np.ones(mebibytes * 2**20, np.uint8)
    progress("allocated")
    return os.getpid(), peak_host_memory() + 0 * held[0]


def _fail(error: Exception, *, progress) -> None:
    raise error


def _exit(code: int, *, progress) -> None:
    os._exit(code)


def _kill(*, progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exhaust(*, progress) -> None:
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nmore lines")


def test_each_task_has_its_own_process_and_peak_memory():
    lines = []
    large_id, large = run_alone("large", _peak_with, 1200, progress=lines.append)
    small_id, small = run_alone("small", _peak_with, 200, progress=lines.append)
    assert lines == ["allocating", "allocated"] * 2
    assert len({large_id, small_id, os.getpid()}) == 3
    # Not exact if this process was larger before, because a child's peak starts at that of its parent.
    if peak_host_memory() < small:
        assert large - small == pytest.approx(1000, abs=50)
    assert large > 1200


def test_errors_keep_their_type_and_traceback():
    with pytest.raises(ConfigError) as caught:
        run_alone("task", _fail, ConfigError("no such thing"), progress=print)
    assert str(caught.value) == "no such thing"
    assert "in _fail" in caught.value.__notes__[0], "where it was raised"


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        (_kill, (), "^task: the system killed the process, probably because memory ran out; try a smaller size"),
        (_exit, (3,), "^task: the process ended with exit code 3"),
        (_exhaust, (), "^out of device memory; try a smaller size: OOM when allocating tensor$"),
    ],
)
def test_crashes_become_messages(task, arguments, message):
    with pytest.raises(UserError, match=message):
        run_alone("task", task, *arguments, progress=print)

"""Times of calls, with a fake clock that the calls advance."""

import pytest
import tensorflow as tf

from trainer.measure import jobs


@pytest.fixture
def clock(monkeypatch):
    """Elapsed seconds, in a list with one item."""
    now = [100.0]
    monkeypatch.setattr(jobs.time, "perf_counter", lambda: now[0])
    return now


def test_first_call_and_warm_up_are_not_measured(clock):
    durations = iter([50.0, 7.0, 6.0, 1.0, 2.0, 5.0, 4.0])

    def call() -> None:
        clock[0] += next(durations)

    lines = []
    assert jobs.time_calls(call, 4, lines.append) == (50.0, [1.0, 2.0, 5.0, 4.0])
    assert next(durations, None) is None
    assert lines == ["first call: tracing and compiling", "step 2 of 4: 2 s", "step 3 of 4: 5 s", "step 4 of 4: 4 s"]


def test_fewer_slow_calls_are_measured(clock):
    def call() -> None:
        clock[0] += 25.0

    assert jobs.time_calls(call, 10, lambda line: None) == (25.0, [25.0] * 3)
    # The first call, one warm-up call, and three measured calls.
    assert clock[0] == 100.0 + 5 * 25.0


def test_a_call_ends_when_the_devices_have_finished(clock, monkeypatch):
    monkeypatch.setattr(tf.test.experimental, "sync_devices", lambda: clock.__setitem__(0, clock[0] + 3.0))
    assert jobs.time_calls(lambda: None, 2, print) == (3.0, [3.0, 3.0])

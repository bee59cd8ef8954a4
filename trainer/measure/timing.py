"""Measures the time of calls after compilation and warm-up, and the memory of the process."""

import dataclasses
import resource
import statistics
import sys
import time
from collections.abc import Callable

import tensorflow as tf

# Calls after the first one, which traces and compiles, that are not measured.
WARM_UP_CALLS = 2
# After this many seconds, the median of this many calls is enough.
_ENOUGH_SECONDS = 60.0
_ENOUGH_CALLS = 3
_SECONDS_BETWEEN_REPORTS = 2.0


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of the first call, which traces and compiles, and of the measured calls after it."""

    first_call: float
    calls: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.calls)


def time_calls(call: Callable[[], object], count: int, progress: Callable[[str], None]) -> Timing:
    """Times `count` calls, or fewer if they take minutes, after a first call and WARM_UP_CALLS more.

    A call ends when all devices have finished.
    """

    def seconds() -> float:
        start = time.perf_counter()
        call()
        # GPU calls are asynchronous.
        tf.test.experimental.sync_devices()
        return time.perf_counter() - start

    progress("first call: tracing and compiling")
    first = seconds()
    for _ in range(WARM_UP_CALLS):
        if seconds() > _ENOUGH_SECONDS / _ENOUGH_CALLS:
            break
    calls: list[float] = []
    started = reported = time.perf_counter()
    for step in range(1, count + 1):
        calls.append(seconds())
        if step == count or time.perf_counter() - reported > _SECONDS_BETWEEN_REPORTS:
            reported = time.perf_counter()
            progress(f"step {step} of {count}: {calls[-1]:.3g} s")
        if step >= _ENOUGH_CALLS and time.perf_counter() - started > _ENOUGH_SECONDS:
            break
    return Timing(first, tuple(calls))


def peak_host_memory() -> float:
    """Peak main memory of this process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def peak_device_memory() -> float | None:
    """Peak memory of TensorFlow on all visible GPUs together in MiB; None without a GPU."""
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        return None
    return sum(tf.config.experimental.get_memory_info(gpu.name.removeprefix("/device:"))["peak"] for gpu in gpus) / 2**20

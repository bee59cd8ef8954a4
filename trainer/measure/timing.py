"""How long a call takes once it is compiled and warm, and how much memory the process took."""

import dataclasses
import resource
import statistics
import sys
import time
from collections.abc import Callable

import tensorflow as tf

# Calls between the first one, which traces and compiles, and those that are measured.
WARM_UP_CALLS = 2
# Slow calls are cut short: after so many seconds the median of three will do.
_ENOUGH_SECONDS = 60.0
_ENOUGH_CALLS = 3
_SECONDS_BETWEEN_REPORTS = 2.0


@dataclasses.dataclass(frozen=True)
class Timing:
    """`first_call` and `calls` are seconds; the first one, with tracing and compilation, is not among the calls."""

    first_call: float
    calls: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.calls)


def time_calls(call: Callable[[], object], count: int, progress: Callable[[str], None]) -> Timing:
    """Times `count` calls, fewer if they take minutes, after the first one and WARM_UP_CALLS more.

    Each is over when all devices are done.
    """

    def seconds() -> float:
        start = time.perf_counter()
        call()
        # Results of a GPU are promises until it is waited for.
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
    """MiB of main memory that this process held at its peak."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def peak_device_memory() -> float | None:
    """MiB that TensorFlow held at its peak on the visible GPUs together; None without one."""
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        return None
    return sum(tf.config.experimental.get_memory_info(gpu.name.removeprefix("/device:"))["peak"] for gpu in gpus) / 2**20

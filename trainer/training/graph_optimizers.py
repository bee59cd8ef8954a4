"""TensorFlow's graph optimizers: on a CPU, they cost a training more time at its start than they save (docs/performance.md)."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_OPTION = "disable_meta_optimizer"


@contextlib.contextmanager
def graphs_run_as_traced(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Inside, tf.functions run without graph optimizers if all devices of the strategy are CPUs."""
    if any("CPU" not in device for device in strategy.extended.worker_devices):
        yield
        return
    before = tf.config.optimizer.get_experimental_options()[_OPTION]
    tf.config.optimizer.set_experimental_options({_OPTION: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_OPTION: before})

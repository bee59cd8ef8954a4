"""Where a run takes place: one CPU, one or several GPUs, a TPU, or several hosts; and how hosts agree."""

import functools
import json
import os
import re
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from protos.descriptions import ConfigError
from protos.errors import first_line

_TF_CONFIG = "TF_CONFIG"
_JOBS = ("chief", "worker")
# What TensorFlow raises on a host when it loses another one.
LOST_HOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)


def make_strategy(master: str = "", num_gpus: int = 0) -> tf.distribute.Strategy:
    """The strategy for a TPU named `master` ("local" on a TPU host), or for `num_gpus` GPUs of each host, or for the CPU (0).

    The hosts are those of the environment variable TF_CONFIG, in the form that TensorFlow documents; without it, this one.
    With several hosts, it waits for all of them. Call it before anything else of TensorFlow runs.

    Raises:
      ConfigError: the devices are not there, or TF_CONFIG is invalid.
    """
    if master:
        if num_gpus:
            raise ConfigError("--master (TPU) and --num_gpus are mutually exclusive")
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=master)
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise ConfigError(f"--master={master}: no TPU answers there: {first_line(error)}") from None
        return tf.distribute.TPUStrategy(resolver)
    gpus = tf.config.list_physical_devices("GPU")
    if num_gpus < 0 or num_gpus > len(gpus):
        advice = (
            "omit --num_gpus to run on the CPU, or check nvidia-smi and install what TensorFlow needs: pip install '.[gpu]'"
        )
        raise ConfigError(f"--num_gpus={num_gpus}: TensorFlow sees {len(gpus)} GPUs on this machine: {advice}")
    hosts = hosts_of_cluster(os.environ.get(_TF_CONFIG, ""))
    # Others are left to other processes.
    tf.config.set_visible_devices(gpus[:num_gpus], "GPU")
    for gpu in gpus[:num_gpus]:
        tf.config.experimental.set_memory_growth(gpu, True)
    if num_gpus == 0 and gpus:
        logging.warning("Running on the CPU although there are %d GPUs; --num_gpus=%d uses them", len(gpus), len(gpus))
    if len(hosts) > 1:
        return _strategy_of_hosts(hosts)
    if num_gpus <= 1:
        return tf.distribute.OneDeviceStrategy(f"/{'gpu' if num_gpus else 'cpu'}:0")
    return tf.distribute.MirroredStrategy([f"/gpu:{i}" for i in range(num_gpus)])


def hosts_of_cluster(text: str) -> list[str]:
    """The addresses of all hosts in a value of TF_CONFIG; none if it is empty or names no cluster.

    Raises:
      ConfigError: it is not JSON, or not the description of workers to which this process belongs.
    """
    example = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        content = json.loads(text or "{}")
        cluster, task = content.get("cluster", {}), content.get("task", {})
        hosts = [address for job in _JOBS for address in cluster.get(job, [])]
        own = cluster[task["type"]][int(task["index"])] if cluster else ""
    except (ValueError, TypeError, AttributeError, KeyError, IndexError):
        raise ConfigError(f"the environment variable {_TF_CONFIG} is {text!r}; it must look like {example}") from None
    if own not in hosts and cluster or set(cluster) - set(_JOBS):
        raise ConfigError(f"the environment variable {_TF_CONFIG}: its jobs must be chief and worker, not {', '.join(cluster)}")
    return hosts


def _strategy_of_hosts(hosts: list[str]) -> tf.distribute.Strategy:
    task = json.loads(os.environ[_TF_CONFIG])["task"]
    print(f"{task['type']} {task['index']} of {len(hosts)} hosts: waiting for {', '.join(hosts)}", flush=True)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        raise ConfigError(f"{_TF_CONFIG}: the hosts cannot be connected: {first_line(error)}") from None


def spans_hosts(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes run the same program for the other replicas (not so for a TPU slice)."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes checkpoints, metrics and summaries."""
    return strategy.extended.should_checkpoint


def sum_over_hosts(strategy: tf.distribute.Strategy, value: int) -> int:
    """The sum of the values (below 2^53) with which all hosts call this; each waits for all others."""
    if not spans_hosts(strategy):
        return int(value)
    # NCCL adds up float64, and not every integer type.
    return round(float(_sum_function(strategy)(tf.constant(value, tf.float64))))


@functools.cache
def _sum_function(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    @tf.function(autograph=False)
    def add_up(value: tf.Tensor) -> tf.Tensor:
        values = strategy.run(lambda: tf.identity(value))
        own_replicas = len(strategy.experimental_local_results(values))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None) / own_replicas

    return add_up


def from_chief(strategy: tf.distribute.Strategy, value: int) -> int:
    """The chief's value, on all hosts."""
    return sum_over_hosts(strategy, value if is_chief(strategy) else 0)


def lost_host(error: tf.errors.OpError) -> str:
    """What to tell the user of a host that has lost another one."""
    aborted = re.search(r"Collective ops is aborted by: ([^\n]*)", str(error))
    cause = aborted[1] if aborted else first_line(error)
    return f"another host of this run has ended or cannot be reached, so this one ends, too ({cause})"

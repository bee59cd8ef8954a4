"""Where a run takes place: one CPU, one or several GPUs, or a TPU."""

import tensorflow as tf
from absl import logging

from protos.descriptions import ConfigError


def make_strategy(master: str = "", num_gpus: int = 0) -> tf.distribute.Strategy:
    """The strategy for a TPU named `master` ("local" on a TPU host), or for `num_gpus` GPUs, or for the CPU (0).

    Raises:
      ConfigError: the devices are not there.
    """
    if master:
        if num_gpus:
            raise ConfigError("--master (TPU) and --num_gpus exclude each other")
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=master)
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise ConfigError(f"--master={master}: no TPU answers there: {str(error).splitlines()[0]}") from None
        return tf.distribute.TPUStrategy(resolver)
    gpus = tf.config.list_physical_devices("GPU")
    if num_gpus < 0 or num_gpus > len(gpus):
        raise ConfigError(f"--num_gpus={num_gpus}: TensorFlow sees {len(gpus)} GPUs on this machine")
    # Others are left to other processes.
    tf.config.set_visible_devices(gpus[:num_gpus], "GPU")
    for gpu in gpus[:num_gpus]:
        tf.config.experimental.set_memory_growth(gpu, True)
    if num_gpus == 0:
        if gpus:
            logging.warning("Running on the CPU although there are %d GPUs; --num_gpus=%d uses them", len(gpus), len(gpus))
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    if num_gpus == 1:
        return tf.distribute.OneDeviceStrategy("/gpu:0")
    return tf.distribute.MirroredStrategy([f"/gpu:{i}" for i in range(num_gpus)])

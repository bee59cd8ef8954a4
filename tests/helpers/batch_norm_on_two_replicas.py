"""Runs batch norm in training mode on two logical CPUs, each with one half of the batch.

python batch_norm_on_two_replicas.py RESULTS.npz
"""

import pathlib
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])  # run from anywhere, without PYTHONPATH

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from kmax_tf.layers.normalization import NormSpec  # noqa: E402


def run(strategy: tf.distribute.Strategy, shape: tuple[int, ...], axis: int | tuple[int, ...], batch: int, synchronized: bool):
    """Input, output, gradients and moving statistics; the batch is dimension `batch` of the shape."""
    random = np.random.default_rng(5)
    x, upstream = (random.standard_normal(shape).astype(np.float32) + 0.5 for _ in range(2))
    with strategy.scope():
        layer = NormSpec(0.9, 1e-3, synchronized).layer(axis)
        layer(tf.zeros(shape))

    def halves(array):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(np.split(array, 2, batch)[context.replica_id_in_sync_group])
        )

    def forward_and_backward(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x, training=True)
            total = tf.reduce_sum(output * upstream)
        return output, *tape.gradient(total, [x, layer.gamma, layer.beta])

    results = tf.function(lambda *inputs: strategy.run(forward_and_backward, inputs))(halves(x), halves(upstream))
    output, gradient = (np.concatenate(strategy.experimental_local_results(one), batch) for one in results[:2])
    # Each replica computes its part; the trainer sums them.
    gamma, beta = (np.sum(strategy.experimental_local_results(one), 0) for one in results[2:])
    return {
        "x": x,
        "upstream": upstream,
        "output": output,
        "gradient": gradient,
        "gamma_gradient": gamma,
        "beta_gradient": beta,
        "moving_mean": layer.moving_mean.numpy(),
        "moving_variance": layer.moving_variance.numpy(),
    }


def main() -> None:
    """Writes the results of all cases."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    cases = {
        "channels": run(strategy, (4, 5, 3, 6), -1, 0, True),
        "similarity": run(strategy, (3, 4, 2, 5, 5), (0, 2), 1, True),
        "alone": run(strategy, (4, 5, 3, 6), -1, 0, False),
    }
    np.savez(sys.argv[1], **{f"{case}/{name}": value for case, arrays in cases.items() for name, value in arrays.items()})


if __name__ == "__main__":
    main()

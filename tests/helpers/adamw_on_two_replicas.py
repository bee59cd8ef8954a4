"""Updates variables on two logical CPUs and on one, with the same gradients.

python adamw_on_two_replicas.py RESULTS.npz
"""

import pathlib
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])  # run from anywhere, without PYTHONPATH

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from protos import trainer_pb2  # noqa: E402
from trainer.training.optimizers import make_optimizer  # noqa: E402


def updated(strategy: tf.distribute.Strategy) -> list[list[float]]:
    """For each device the norm of every variable, after three steps, and of every variable of the optimizer."""
    solver = trainer_pb2.SolverOptions(
        base_learning_rate=1e-2, training_number_of_steps=100, optimizer="adamw", adamw_weight_decay=0.05
    )
    shapes = {"a/kernel": [3, 3, 4, 5], "a/gamma": [5], "b/qkv_kernel": [7, 6], "b/beta": []}
    random = np.random.default_rng(1)
    with strategy.scope():
        variables = [tf.Variable(random.standard_normal(s), dtype=tf.float32, name=name) for name, s in shapes.items()]
        optimizer = make_optimizer(solver, variables)
    gradients = [tf.constant(random.standard_normal(v.shape), tf.float32) for v in variables]

    def on_replica() -> None:
        optimizer.apply_gradients(zip(gradients, variables), skip_gradients_aggregation=True)

    step = tf.function(lambda: strategy.run(on_replica), autograph=False)
    for _ in range(3):
        step()
    copies = [strategy.experimental_local_results(v) for v in [*variables, *optimizer.variables]]
    return [[float(tf.norm(tf.cast(copy[i], tf.float32))) for copy in copies] for i in range(strategy.num_replicas_in_sync)]


def main() -> None:
    tf.config.set_visible_devices([], "GPU")
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    first, second = updated(tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]))
    (one,) = updated(tf.distribute.OneDeviceStrategy("/cpu:0"))
    np.savez(sys.argv[1], first=first, second=second, one=one)


if __name__ == "__main__":
    main()

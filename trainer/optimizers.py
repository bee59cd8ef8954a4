"""Optimizers: decoupled weight decay on kernels, a learning rate of its own for the encoder (paper, section 5.1)."""

import tensorflow as tf
import tf_keras

from protos import trainer_pb2

DECAYED = ("kernel", "depthwise_kernel", "qkv_kernel")


class LearningRate(tf_keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then poly or cosine decay over the absolute step.

    `multiplier` scales the base learning rate; poly decay ends at poly_end_learning_rate itself, as DeepLab2's does.
    """

    def __init__(self, solver: trainer_pb2.SolverOptions, multiplier: float = 1.0):
        self.solver = solver
        self.multiplier = multiplier

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        solver = self.solver
        step = tf.cast(step, tf.float32)
        base = solver.base_learning_rate * self.multiplier
        end = solver.poly_end_learning_rate
        progress = tf.minimum(step / solver.training_number_of_steps, 1.0)
        if solver.learning_policy == "cosine":
            decayed = base * 0.5 * (1.0 + tf.cos(3.141592653589793 * progress))
        else:
            decayed = (base - end) * (1.0 - progress) ** solver.poly_learning_power + end
        if not solver.warmup_steps:
            return decayed
        return tf.where(step < solver.warmup_steps, base * step / solver.warmup_steps, decayed)

    def get_config(self) -> dict[str, object]:
        return {"solver": str(self.solver), "multiplier": self.multiplier}


def make_optimizer(
    solver: trainer_pb2.SolverOptions, variables: list[tf.Variable], multiplier: float = 1.0
) -> tf_keras.optimizers.Optimizer:
    """The optimizer of a config for these variables, with its slots created.

    Only kernels of convolutions and projections decay: not norms, biases, position encodings, cluster centres or layer
    scales.
    """
    rate = LearningRate(solver, multiplier)
    if solver.optimizer == "adamw":
        optimizer = tf_keras.optimizers.AdamW(rate, weight_decay=solver.adamw_weight_decay, jit_compile=False)
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if not is_decayed(v)])
    elif solver.optimizer == "adam":
        optimizer = tf_keras.optimizers.Adam(rate, jit_compile=False)
    else:
        optimizer = tf_keras.optimizers.SGD(rate, momentum=0.9, jit_compile=False)
    optimizer.build(variables)
    return optimizer


def is_decayed(variable: tf.Variable) -> bool:
    return variable.name.rsplit("/", 1)[-1].removesuffix(":0") in DECAYED

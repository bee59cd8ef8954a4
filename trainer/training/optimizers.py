"""Optimizers: decoupled weight decay on kernels, a learning rate of its own for the encoder (paper, section 5.1)."""

from collections.abc import Sequence

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


class FusedAdamW(tf_keras.optimizers.AdamW):
    """AdamW with one fused operation for each variable, and weight decay of kernels only.

    The update of tf_keras takes forty operations for each variable, and most of a model's variables are tiny.
    """

    # A bool tensor []; where it is false, updates leave variables and moments as they are. Gradients must be finite.
    enabled: tf.Tensor | None = None

    def add_variable_from_reference(self, model_variable: tf.Variable, variable_name: str, **_: object) -> tf.Variable:
        """A slot of zeros. All have one name, because TensorFlow takes three times as long for a name that is new to it."""
        variable = tf.Variable(tf.zeros(model_variable.shape), name=variable_name, trainable=False)
        self._variables.append(variable)
        return variable

    def _apply_weight_decay(self, variables: Sequence[tf.Variable]) -> None:
        """Does nothing: each variable decays just before its update."""

    def _distributed_apply_gradients_fn(
        self, distribution: tf.distribute.Strategy, grads_and_vars: Sequence[tuple[tf.Tensor, tf.Variable]], **_: object
    ) -> tf.Tensor:
        rate = tf.convert_to_tensor(self.learning_rate)  # each update would read a variable anew
        step = tf.cast(self.iterations + 1, tf.float32)
        settings = {
            "lr": rate,
            "beta1_power": tf.pow(self.beta_1, step),
            "beta2_power": tf.pow(self.beta_2, step),
            "beta1": tf.constant(self.beta_1),
            "beta2": tf.constant(self.beta_2),
            "epsilon": tf.constant(self.epsilon),
        }
        if self.enabled is not None:
            rate = settings["lr"] = tf.where(self.enabled, rate, 0.0)
            settings |= {name: tf.where(self.enabled, settings[name], 1.0) for name in ("beta1", "beta2")}
        decay = rate * self.weight_decay
        for gradient, variable in grads_and_vars:
            index = self._index_dict[self._var_key(variable)]
            decays = variable.name.rsplit("/", 1)[-1].removesuffix(":0") in DECAYED

            def update(variable, gradient, momentum=self._momentums[index], velocity=self._velocities[index], decays=decays):
                if decays:
                    variable.assign_sub(variable * decay)
                tf.raw_ops.ResourceApplyAdam(
                    var=variable.handle, m=momentum.handle, v=velocity.handle, grad=tf.convert_to_tensor(gradient), **settings
                )

            distribution.extended.update(variable, update, args=(gradient,), group=False)
        return self.iterations.assign_add(1)


def make_optimizer(
    solver: trainer_pb2.SolverOptions, variables: list[tf.Variable], multiplier: float = 1.0
) -> tf_keras.optimizers.Optimizer:
    """The optimizer of a config for these variables, with its slots created.

    Only kernels of convolutions and projections decay: not norms, biases, position encodings, cluster centers or layer
    scales.
    """
    rate = LearningRate(solver, multiplier)
    if solver.optimizer == "adamw":
        optimizer = FusedAdamW(rate, weight_decay=solver.adamw_weight_decay, jit_compile=False, name="AdamW")
    elif solver.optimizer == "adam":
        optimizer = tf_keras.optimizers.Adam(rate, jit_compile=False)
    else:
        optimizer = tf_keras.optimizers.SGD(rate, momentum=0.9, jit_compile=False)
    optimizer.build(variables)
    return optimizer

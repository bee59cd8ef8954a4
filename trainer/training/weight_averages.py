"""Exponential moving averages of the weights of a training run (trainer_options.solver_options.ema_decay)."""

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from kmax_tf.checkpoints.variable_names import named_variables
from kmax_tf.model import KMaXDeepLab


class WeightAverages:
    """One average for each trainable variable. Moving statistics of batch norm are averages already and stay as they are.

    After step t = 0, 1, ... : average += (1 - d) * (weight - average), with d = min(decay, (1 + t) / (10 + t)), so that the
    first steps do not count for long.
    """

    def __init__(self, model: KMaXDeepLab, decay: float):
        """Starts from the current weights; must be called in the scope of the strategy of the model."""
        self._decay = decay
        trained = {id(variable) for variable in model.trainable_variables}
        self._weights = {name: v for name, v in named_variables(model).items() if id(v) in trained}
        # By the name of the variable, under which kmax_tf.checkpoints.tensorflow_files finds them in a checkpoint.
        self.values = {name: tf.Variable(v, trainable=False) for name, v in self._weights.items()}

    def update(self, step: tf.Tensor) -> None:
        """Follows the weights after optimizer step `step`, which counts from 0; in a replica context."""
        step = tf.cast(step, tf.float32)
        rate = 1.0 - tf.minimum(self._decay, (1.0 + step) / (10.0 + step))
        strategy = tf.distribute.get_strategy()
        if strategy.extended._use_merge_call():  # otherwise, variables of a replica can be assigned where it runs
            tf.distribute.get_replica_context().merge_call(self._update, args=(rate,))
        else:
            self._update(strategy, rate)

    def _update(self, strategy: tf.distribute.Strategy, rate: tf.Tensor) -> None:
        def follow(average: tf.Variable, weight: tf.Tensor, rate: tf.Tensor) -> None:
            average.assign_sub((average - weight) * rate)

        for name, average in self.values.items():
            strategy.extended.update(average, follow, args=(self._weights[name], rate), group=False)

    def reset(self) -> None:
        """Makes every average the current weight, as at the start of a training run."""
        for name, average in self.values.items():
            average.assign(self._weights[name].numpy())

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the averages into the model for the duration of a `with` block, the weights into the averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, average in self.values.items():
            weight = self._weights[name]
            before: np.ndarray = weight.numpy()
            weight.assign(average.numpy())
            average.assign(before)

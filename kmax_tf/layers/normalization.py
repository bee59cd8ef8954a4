"""Batch normalisation over one or several axes, synchronised over replicas.

tf_keras offers either the fused kernel, whose moving variance is the unbiased one, or synchronised statistics with a
slower kernel. The published models keep biased statistics; this layer does so with the fused kernel wherever it applies.
"""

import dataclasses

import tensorflow as tf
import tf_keras


class BatchNorm(tf_keras.layers.Layer):
    """Normalises over all axes but `axis`, with parameters of full rank when there are several.

    With several replicas the statistics are those of the whole batch: the sums of values, squares and counts are added
    over replicas. Statistics are float32 and biased, both for normalising and for the moving averages.
    """

    def __init__(
        self,
        *,
        axis: int | tuple[int, ...] = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        synchronized: bool = True,
        gamma_initializer: str | tf_keras.initializers.Initializer = "ones",
    ):
        # Without autocast an input of float32 stays so under a bfloat16 policy, as the mask logits need.
        super().__init__(name="batch_norm", autocast=False)
        self.axis = axis
        self.momentum = momentum
        self.epsilon = epsilon
        self.synchronized = synchronized
        self.gamma_initializer = gamma_initializer

    def build(self, shape: tf.TensorShape) -> None:
        rank = len(shape)
        if isinstance(self.axis, int):
            self.kept = (self.axis % rank,)
            parameters = (shape[self.axis],)
        else:
            self.kept = tuple(a % rank for a in self.axis)
            parameters = tuple(shape[a] if a in self.kept else 1 for a in range(rank))
        self.reduced = tuple(a for a in range(rank) if a not in self.kept)

        def moving(name: str, initializer: str) -> tf.Variable:
            return self.add_weight(
                name,
                parameters,
                tf.float32,
                initializer,
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.MEAN,
                experimental_autocast=False,
            )

        self.gamma = self.add_weight("gamma", parameters, tf.float32, self.gamma_initializer, experimental_autocast=False)
        self.beta = self.add_weight("beta", parameters, tf.float32, "zeros", experimental_autocast=False)
        self.moving_mean = moving("moving_mean", "zeros")
        self.moving_variance = moving("moving_variance", "ones")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        across = self.synchronized and replica is not None and replica.num_replicas_in_sync > 1
        # The fused kernel adds up a channel row by row, which is inaccurate where one channel holds millions of values.
        if self.kept == (x.shape.rank - 1,) and x.shape[-1] > 1 and not (training and across):
            return self._fused(x, training)
        x32 = tf.cast(x, tf.float32)
        if training:
            mean, variance = self._moments(x32, replica if across else None)
            self._update(mean, variance)
        else:
            mean, variance = self._broadcast(self.moving_mean), self._broadcast(self.moving_variance)
        scale = self._broadcast(self.gamma) * tf.math.rsqrt(variance + self.epsilon)
        return tf.cast(x32 * scale + (self._broadcast(self.beta) - mean * scale), x.dtype)

    def _fused(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        flat = x if x.shape.rank == 4 else tf.reshape(x, [-1, 1, 1, x.shape[-1]])
        if not training:
            y, _, _ = tf.compat.v1.nn.fused_batch_norm(
                flat, self.gamma, self.beta, self.moving_mean, self.moving_variance, self.epsilon, is_training=False
            )
        else:
            y, mean, variance = tf.compat.v1.nn.fused_batch_norm(flat, self.gamma, self.beta, epsilon=self.epsilon)
            count = tf.cast(tf.size(flat) // flat.shape[-1], tf.float32)
            # The kernel returns the unbiased variance, the variance of one value as 0.
            self._update(mean, variance * (tf.maximum(count - 1.0, 1.0) / count))
        return y if x.shape.rank == 4 else tf.reshape(y, tf.shape(x))

    def _moments(self, x: tf.Tensor, replica: tf.distribute.ReplicaContext | None) -> tuple[tf.Tensor, tf.Tensor]:
        if replica is None:
            return tf.nn.moments(x, self.reduced, keepdims=True)
        total = tf.reduce_sum(x, self.reduced, keepdims=True)
        squares = tf.reduce_sum(tf.square(x), self.reduced, keepdims=True)
        count = tf.cast(tf.size(x) / tf.size(total), tf.float32)
        total, squares, count = replica.all_reduce(tf.distribute.ReduceOp.SUM, [total, squares, count])
        mean = total / count
        return mean, tf.maximum(squares / count - tf.square(mean), 0.0)

    def _update(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign_sub((moving - tf.reshape(value, moving.shape)) * (1.0 - self.momentum))

    def _broadcast(self, parameter: tf.Variable) -> tf.Tensor:
        """A parameter with the rank of the input."""
        if parameter.shape.rank > 1 or not self.reduced:
            return parameter
        rank = len(self.kept) + len(self.reduced)
        return tf.reshape(parameter, [-1 if a in self.kept else 1 for a in range(rank)])


@dataclasses.dataclass(frozen=True)
class NormSpec:
    """The batch-norm settings of one model, passed to every block that normalises."""

    momentum: float = 0.99
    epsilon: float = 1e-3
    synchronized: bool = True

    def layer(self, axis: int | tuple[int, ...] = -1, gamma: float = 1.0) -> BatchNorm:
        return BatchNorm(
            axis=axis,
            momentum=self.momentum,
            epsilon=self.epsilon,
            synchronized=self.synchronized,
            gamma_initializer=tf_keras.initializers.Constant(gamma),
        )

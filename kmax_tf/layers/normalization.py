"""Batch normalization over one or several axes, synchronized over replicas.

tf_keras offers either the fused kernel, which keeps an unbiased moving variance, or synchronized statistics with slow
gradients. The published models use biased statistics, E[x^2] - E[x]^2 over the whole batch. This layer has hand-written
gradients and, if the channels come last, normalizes with one pass of the fused kernel.
"""

import dataclasses

import tensorflow as tf
import tf_keras

from kmax_tf.layers.batch_statistics import BatchSettings, affine, normalize_and_update, scaled, shared_function
from kmax_tf.scoped_value import Scoped

# Where true, batch norm in training leaves its moving statistics as they are.
moving_statistics_kept = Scoped(False)
# Where true, a batch whose mean or variance is not finite leaves the moving statistics as they are.
only_finite_statistics = Scoped(False)


@dataclasses.dataclass(frozen=True)
class NormSpec:
    """The batch-norm settings of one model, passed to every block that normalizes."""

    momentum: float = 0.99
    epsilon: float = 1e-3
    synchronized: bool = True

    def layer(self, axis: int | tuple[int, ...] = -1, gamma: float = 1.0) -> "BatchNorm":
        """A layer with these settings; `gamma` is the initial value of its scale."""
        return BatchNorm(self, axis, gamma)


class BatchNorm(tf_keras.layers.Layer):
    """Normalizes over all axes but `axis`, with parameters of full rank when there are several.

    With several replicas the statistics are those of the whole batch: sums of values, squares and counts are reduced over
    replicas. Statistics are float32 and biased, both for normalizing and for the moving averages. As in the published models,
    they lose precision if the mean of a channel is much larger than its deviation: 5e-5 of the output at a factor of 10.
    """

    def __init__(self, spec: NormSpec, axis: int | tuple[int, ...], gamma: float):
        # Without autocast a float32 input stays float32 under a bfloat16 policy, which the mask logits need.
        super().__init__(name="batch_norm", autocast=False)
        self.spec = spec
        self.axis = axis
        self.gamma_initializer = tf_keras.initializers.Constant(gamma)
        self.folded = False

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

    def scale(self) -> tf.Tensor:
        """What inference multiplies values by, in the shape of the parameters."""
        return self.gamma * tf.math.rsqrt(self.moving_variance + self.spec.epsilon)

    def offset(self) -> tf.Tensor:
        """What inference adds to the scaled values."""
        return self.beta - self.moving_mean * self.scale()

    def fold_into(self, kernel: tf.Variable, bias: tf.Tensor | float = 0.0) -> None:
        """Multiplies a kernel [...,C], or [h,w,C,1], by the scale of inference; this layer then only adds its beta.

        Args:
          kernel: that of the product whose output, plus `bias`, this layer normalizes.
          bias: [C].

        Raises:
          ValueError: the layer is folded already; or later, if it is called in training.
        """
        if self.folded:
            raise ValueError("the batch norms of this model are folded already")
        scale = self.scale()
        channels = scale.shape if kernel.shape[-1] == scale.shape[0] else [*scale.shape, 1]
        kernel.assign(kernel * tf.reshape(scale, channels))
        self.beta.assign(self.beta + (bias - self.moving_mean) * scale)
        self.folded = True

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if self.folded:
            if training:
                raise ValueError("the batch norms of this model are folded: it cannot be trained")
            return tf.nn.bias_add(x, tf.cast(self.beta, x.dtype))
        replica = tf.distribute.get_replica_context()
        if not (self.spec.synchronized and replica is not None and replica.num_replicas_in_sync > 1):
            replica = None  # Use the statistics of this replica only.
        gamma, beta = self._parameter(self.gamma), self._parameter(self.beta)
        if training:
            return self._by_batch(x, gamma, beta, replica)
        apply = affine if gamma.shape.rank == 1 else scaled
        return apply(
            x, gamma, beta, self._parameter(self.moving_mean), self._parameter(self.moving_variance), self.spec.epsilon
        )

    def _by_batch(
        self,
        x: tf.Tensor,
        gamma: tf.Tensor,
        beta: tf.Tensor,
        replica: tf.distribute.ReplicaContext | None,
    ) -> tf.Tensor:
        """Normalizes by the statistics of the batch, and updates the moving averages with them."""
        updates = not moving_statistics_kept.get()
        settings = BatchSettings(self.reduced, self.spec.epsilon, self.spec.momentum, updates, only_finite_statistics.get())
        moving = self.moving_mean, self.moving_variance
        if replica is not None or isinstance(self.moving_mean, tf.distribute.DistributedValues):
            # Functions cannot add up over replicas.
            return normalize_and_update(x, gamma, beta, *moving, settings, replica)
        return shared_function(settings)(x, gamma, beta, *moving)

    def _parameter(self, parameter: tf.Variable) -> tf.Tensor:
        """The value of a parameter: [C] if channels come last, otherwise with the rank of the input."""
        value = tf.convert_to_tensor(parameter)
        rank = len(self.kept) + len(self.reduced)
        if value.shape.rank > 1 or self.kept == (rank - 1,):
            return value
        return tf.reshape(value, [-1 if a in self.kept else 1 for a in range(rank)])

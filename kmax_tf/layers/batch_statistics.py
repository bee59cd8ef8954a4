"""Normalization by the statistics of a batch, with hand-written gradients, as functions of tensors."""

import dataclasses
import functools
import math
from collections.abc import Callable

import tensorflow as tf

# The collection of a graph with the functions of shared_function.
_FUNCTIONS = "batch_norm_functions"


def affine(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, epsilon: float) -> tf.Tensor:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta in one pass, [B,...,C] -> the same shape and type."""
    # The kernel needs images. The batch stays the first dimension, because cuDNN limits the others to 65535.
    image = x if x.shape.rank == 4 else _reshape(x, [x.shape[1:-1].num_elements(), 1, x.shape[-1]])
    y = tf.compat.v1.nn.fused_batch_norm(image, gamma, beta, mean, variance, epsilon, is_training=False)[0]
    return y if x.shape.rank == 4 else _reshape(y, x.shape[1:].as_list(), like=x)


def _reshape(x: tf.Tensor, shape: list[int | None], like: tf.Tensor | None = None) -> tf.Tensor:
    """Reshapes all but the first dimension of x to `shape`; if it is not known while tracing, to the shape of `like`."""
    if None not in shape:
        return tf.reshape(x, [-1, *shape])
    return tf.reshape(x, [tf.shape(x)[0], -1, *shape[1:]] if like is None else tf.shape(like))


def scaled(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, epsilon: float) -> tf.Tensor:
    """The same for parameters with the rank of x."""
    scale = gamma * tf.math.rsqrt(variance + epsilon)
    return tf.cast(tf.cast(x, tf.float32) * scale + (beta - mean * scale), x.dtype)


def _moments(
    x: tf.Tensor, axes: tuple[int, ...], replica: tf.distribute.ReplicaContext | None, *, keepdims: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and biased variance of float32 values over `axes` and over replicas."""
    total = tf.reduce_sum(x, axes, keepdims=keepdims)
    squares = tf.reduce_sum(tf.square(x), axes, keepdims=keepdims)
    count = _size(x, axes)
    if replica is not None:
        total, squares, count = replica.all_reduce(tf.distribute.ReduceOp.SUM, [total, squares, tf.convert_to_tensor(count)])
    mean = total / count
    return mean, tf.maximum(squares / count - tf.square(mean), 0.0)


def _size(x: tf.Tensor, axes: tuple[int, ...]) -> float | tf.Tensor:
    """Number of values that a sum of x over `axes` adds; a constant if it is known while tracing."""
    static = [x.shape[axis] for axis in axes]
    if None not in static:
        return float(math.prod(static))
    return tf.cast(tf.reduce_prod([tf.shape(x)[axis] for axis in axes]), tf.float32)


def _normalize_by_batch(
    x: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    axes: tuple[int, ...],
    epsilon: float,
    replica: tf.distribute.ReplicaContext | None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The normalized values of x, and their mean and variance over `axes`, which have no gradient.

    Parameters are [C], for x [B,...,C], or have the rank of x. Uses reduce_sum for the statistics: the kernel adds row by row,
    and its rounding errors grow in a deep network.
    """
    keepdims = gamma.shape.rank > 1
    values = tf.stop_gradient(tf.cast(x, tf.float32))
    mean, variance = _moments(values, axes, replica, keepdims=keepdims)

    @tf.custom_gradient
    def normalize(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor):
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            values, upstream = tf.cast(x, tf.float32), tf.cast(dy, tf.float32)
            inverse = tf.math.rsqrt(variance + epsilon)
            d_beta = tf.reduce_sum(upstream, axes, keepdims=keepdims)
            d_gamma = (tf.reduce_sum(upstream * values, axes, keepdims=keepdims) - mean * d_beta) * inverse
            count, sums = _size(x, axes), (d_beta, d_gamma)
            if replica is not None:
                sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)
                count *= replica.num_replicas_in_sync
            scale = gamma * inverse
            # dx = scale * (dy - mean(dy) - normalized x * mean(dy * normalized x))
            part = scale / count
            slope = part * inverse * sums[1]
            offset = part * sums[0] - slope * mean
            return tf.cast(upstream * scale - (values * slope + offset), x.dtype), d_gamma, d_beta

        apply = scaled if keepdims else affine
        return apply(x, gamma, beta, mean, variance, epsilon), gradient

    return normalize(x, gamma, beta), mean, variance


@dataclasses.dataclass(frozen=True)
class BatchSettings:
    """How a layer normalizes in training."""

    axes: tuple[int, ...]
    epsilon: float
    momentum: float
    updates_moving: bool
    only_finite: bool


def normalize_and_update(
    x: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    moving_mean: tf.Variable,
    moving_variance: tf.Variable,
    settings: BatchSettings,
    replica: tf.distribute.ReplicaContext | None = None,
) -> tf.Tensor:
    """Normalizes x by the statistics of the batch, over all replicas if one is given, and updates the moving averages.

    Parameters are as in _normalize_by_batch; the moving averages have as many values.
    """
    y, mean, variance = _normalize_by_batch(x, gamma, beta, settings.axes, settings.epsilon, replica)
    if not settings.updates_moving:
        return y
    for moving, value in ((moving_mean, mean), (moving_variance, variance)):
        if value.shape != moving.shape:
            value = tf.reshape(value, moving.shape)
        if settings.only_finite:
            value = tf.where(tf.reduce_all(tf.math.is_finite(value)), value, moving)
        moving.assign_sub((moving - value) * (1.0 - settings.momentum))
    return y


def shared_function(settings: BatchSettings) -> Callable[..., tf.Tensor]:
    """normalize_and_update as a function that a graph traces once for all layers whose inputs have one shape.

    Tracing a third of all operations of a training step for each layer anew took a third of the time before the first step.
    """
    if tf.executing_eagerly():
        return functools.partial(normalize_and_update, settings=settings)
    # Part of the graph, so that both are freed together: a cache that outlives it makes Python slow to exit.
    functions = tf.compat.v1.get_default_graph().get_collection_ref(_FUNCTIONS)
    known = [function for other, function in functions if other == settings]
    if known:
        return known[0]
    function = tf.function(functools.partial(normalize_and_update, settings=settings), autograph=False)
    functions.append((settings, function))
    return function

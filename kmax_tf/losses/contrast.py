"""Contrast of an image's pixels as one operation with its own gradient, which needs no matrix of all pairs of pixels.

With S pixels of D features, the target of a pixel's cross entropy is the mean of its mask, so that term is a sum of features
for each mask, O(S D). The softmax works on blocks of similarities. They are symmetric, so half of them are computed, and the
gradient is computed beside the loss, while the blocks of one image exist: recomputing them later costs a third more.
"""

import tensorflow as tf

from kmax_tf.losses.reduction import mean_of_nonzero

# Pixels of a block; a block of similarities then has 1 MB.
_BLOCK = 512


def mean_contrast(features: tf.Tensor, row: tf.Tensor, rows: int, temperature: float) -> tf.Tensor:
    """Mean cross entropy between similarity and sameness of mask over the pixels that have a mask; [B].

    The gradient of a pixel without a mask is the softmax, as tf.nn.softmax_cross_entropy_with_logits has it for a target of
    zeros.

    Args:
      features: float32 [B,S,D], of at most unit length: exponentials of features . features / temperature must be finite.
      row: int32 [B,S], the mask of each pixel, less than `rows`; -1: none.
      rows: number of masks.
      temperature: divides the similarities.
    """

    @tf.custom_gradient
    def contrast(features: tf.Tensor):
        loss, gradient = tf.map_fn(
            lambda image: _loss_and_gradient(*image, rows, temperature),
            (features, row),
            fn_output_signature=(tf.float32, tf.float32),
            # One image at a time: each needs the memory of its blocks.
            parallel_iterations=1,
        )
        return loss, lambda upstream: upstream[:, None, None] * gradient

    return contrast(features)


def _loss_and_gradient(features: tf.Tensor, row: tf.Tensor, rows: int, temperature: float) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean loss of an image, [], and its gradient, [S,D]."""
    scaled = features * temperature**-0.5
    has_mask = tf.cast(row >= 0, tf.float32)
    area = tf.maximum(tf.math.unsorted_segment_sum(has_mask, row, rows), 1.0)
    mean = tf.math.unsorted_segment_sum(scaled, row, rows) / area[:, None]
    target = tf.gather(mean, tf.maximum(row, 0)) * has_mask[:, None]
    blocks = _Blocks(scaled)
    exponentials = [tf.exp(similarity) for similarity in blocks.similarities()]
    total = blocks.row_sums(exponentials)
    losses = (tf.math.log(total) - tf.reduce_sum(target * scaled, 1)) * has_mask
    # The softmax and its transpose; the gradient of the target term has two equal parts as well.
    by_feature = blocks.weighted_sums(exponentials, 1.0 / total) - 2.0 * target
    count = tf.reduce_sum(tf.cast(losses != 0.0, tf.float32))
    return mean_of_nonzero(losses[None])[0], by_feature * tf.math.divide_no_nan(temperature**-0.5, count)


class _Blocks:
    """The products of all pairs of S vectors [S,D], in n blocks of b vectors: block i with blocks i to i+n/2, cyclically.

    Every pair of different blocks occurs once: at distance n/2 only the first half of the blocks has a partner.
    """

    def __init__(self, vectors: tf.Tensor):
        self._size, depth = vectors.shape
        self._count = max(1, round(self._size / _BLOCK))
        self._length = -(-self._size // self._count)
        self._padding = self._count * self._length - self._size
        padded = tf.pad(vectors, [[0, self._padding], [0, 0]]) if self._padding else vectors
        self._vectors = tf.reshape(padded, [self._count, self._length, depth])
        # Distance of two blocks, and number of blocks that have such a partner.
        half = self._count // 2
        self._distances = [(d, half if 0 < 2 * d == self._count else self._count) for d in range(half + 1)]

    def similarities(self) -> list[tf.Tensor]:
        """For each distance the products [k,b,b] of k blocks and their partners."""
        return [
            tf.matmul(self._vectors[:k], self._partners(self._vectors, d)[:k], transpose_b=True) for d, k in self._distances
        ]

    def row_sums(self, exponentials: list[tf.Tensor]) -> tf.Tensor:
        """Sum of the exponentials of each vector's products, [S]."""
        total = tf.zeros([self._count, self._length])
        for (d, k), block in zip(self._distances, exponentials):
            total = self._add(total, tf.reduce_sum(block, 2), tf.reduce_sum(block, 1), d, k)
        # The product with a vector of zeros is 0, and its exponential 1.
        return tf.reshape(total, [-1])[: self._size] - self._padding

    def weighted_sums(self, exponentials: list[tf.Tensor], weight: tf.Tensor) -> tf.Tensor:
        """sum_j e_ij (weight_i + weight_j) vector_j for each vector i, [S,D]."""
        weight = tf.reshape(tf.pad(weight, [[0, self._padding]]), [self._count, self._length])
        total = tf.zeros_like(self._vectors)
        for (d, k), block in zip(self._distances, exponentials):
            block *= weight[:k, :, None] + self._partners(weight, d)[:k, None, :]
            own = tf.matmul(block, self._partners(self._vectors, d)[:k])
            others = tf.matmul(block, self._vectors[:k], transpose_a=True) if d else None
            total = self._add(total, own, others, d, k)
        return tf.reshape(total, [-1, total.shape[-1]])[: self._size]

    @staticmethod
    def _partners(values: tf.Tensor, distance: int) -> tf.Tensor:
        return tf.roll(values, -distance, 0) if distance else values

    @staticmethod
    def _add(total: tf.Tensor, own: tf.Tensor, others: tf.Tensor | None, distance: int, count: int) -> tf.Tensor:
        """Adds sums over the partners of `count` blocks, and those over the blocks to their partners."""
        if not distance:
            return total + own
        if 2 * distance == total.shape[0]:
            return total + tf.concat([own, others], 0)
        return total + own + tf.roll(others, distance, 0)

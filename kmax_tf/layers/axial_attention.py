"""Position-sensitive axial attention (Axial-DeepLab, arXiv:2003.07853): along the height, then along the width."""

import tensorflow as tf
import tf_keras

from kmax_tf.layers.activations import identity
from kmax_tf.layers.convolution import every_nth, on_rows, product, truncated_normal
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.one_pass import one_pass
from kmax_tf.layers.sizes import sizes

HEADS = 8
# Relative positions -254 .. 254 have separate encodings; more distant ones use the outermost.
SPAN = 255


class RelativePositions(tf_keras.layers.Layer):
    """Embeddings of relative positions: [L,L,channels], where entry [l,m] belongs to the offset m - l."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def build(self, _) -> None:
        self.embeddings = self.add_weight("embeddings", [2 * SPAN - 1, self.channels], initializer=truncated_normal(1.0))

    def call(self, length: tf.Tensor) -> tf.Tensor:
        positions = tf.range(length)
        offsets = tf.clip_by_value(positions[None, :] - positions[:, None], 1 - SPAN, SPAN - 1)
        return tf.gather(self.embeddings, offsets + SPAN - 1)


class AxisAttention(tf_keras.layers.Layer):
    """Self-attention along one axis, [n,L,C] -> [n,L,value_depth]."""

    def __init__(self, key_depth: int, value_depth: int, norm: NormSpec):
        super().__init__()
        self.key_depth = key_depth
        self.value_depth = value_depth
        self.qkv_norm = norm.layer()
        # A gamma per head and kind of similarity replaces the scale 1/sqrt(d).
        self.similarity_norm = norm.layer(axis=(0, 2))
        self.output_norm = norm.layer(axis=(0, 2, 4))
        self.query_positions = RelativePositions(key_depth // HEADS)
        self.key_positions = RelativePositions(key_depth // HEADS)
        self.value_positions = RelativePositions(value_depth // HEADS)

    def build(self, shape: tf.TensorShape) -> None:
        channels = shape[-1]
        self.qkv_kernel = self.add_weight(
            "qkv_kernel", [channels, 2 * self.key_depth + self.value_depth], initializer=truncated_normal(channels**-0.5)
        )

    def fold_norm(self) -> None:
        """Folds the norm of queries, keys and values, and of what is retrieved: weights with the sum 1 keep its offsets."""
        self.qkv_norm.fold_into(self.qkv_kernel)
        scale, offset = (tf.reshape(x, [2, self.value_depth]) for x in (self.output_norm.scale(), self.output_norm.offset()))
        columns = tf.concat([tf.ones([2 * self.key_depth]), scale[0]], 0)
        self.qkv_kernel.assign(self.qkv_kernel * columns)
        moved = tf.concat([tf.zeros([2 * self.key_depth]), tf.reduce_sum(offset, 0)], 0)
        self.qkv_norm.beta.assign(self.qkv_norm.beta * columns + moved)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        length = sizes(x)[1]
        if self.qkv_norm.folded:
            qkv = product(x, self.qkv_kernel, self.qkv_norm, identity)
        else:
            # Of a product of [n,L,C] and a matrix, the gradient would first have a matrix for each n.
            qkv = on_rows(x, lambda rows: tf.matmul(rows, tf.cast(self.qkv_kernel, x.dtype)))
            qkv = self.qkv_norm(qkv, training=training)
        query, key, value = (
            tf.reshape(part, [-1, length, HEADS, part.shape[-1] // HEADS])
            for part in tf.split(qkv, [self.key_depth, self.key_depth, self.value_depth], -1)
        )
        similarity = [
            tf.einsum("nlgd,nmgd->nglm", query, key),
            tf.einsum("nlgd,lmd->nglm", query, self.query_positions(length)),
            tf.einsum("nmgd,lmd->nglm", key, self.key_positions(length)),
        ]
        if self.qkv_norm.folded:
            weights = _weights(*similarity, self.similarity_norm.scale())
        else:
            similarity = tf.reduce_sum(self.similarity_norm(tf.stack(similarity), training=training), 0)
            weights = tf.cast(tf.nn.softmax(tf.cast(similarity, tf.float32)), x.dtype)
        retrieved = [
            tf.einsum("nglm,nmgd->ngld", weights, value),
            tf.einsum("nglm,lmd->ngld", weights, self.value_positions(length)),
        ]
        if self.qkv_norm.folded:
            retrieved = _merged(*retrieved, self.output_norm.scale()[1])
        else:
            retrieved = tf.reduce_sum(self.output_norm(tf.stack(retrieved), training=training), 0)
        return tf.reshape(tf.transpose(retrieved, [0, 2, 1, 3]), [-1, length, self.value_depth])


@one_pass
def _weights(content: tf.Tensor, query_position: tf.Tensor, key_position: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Softmax of similarities [n,G,L,M] with scale [3,1,G,1,1]; offsets of the heads would not change it."""
    similarity = sum(tf.cast(part, tf.float32) * scale[i] for i, part in enumerate((content, query_position, key_position)))
    return tf.cast(tf.nn.softmax(similarity), content.dtype)


@one_pass
def _merged(content: tf.Tensor, position: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """content + position * scale, [n,G,L,d]."""
    return tf.cast(tf.cast(content, tf.float32) + tf.cast(position, tf.float32) * scale, content.dtype)


class AxialAttention(tf_keras.layers.Layer):
    """[B,H,W,C] -> [B,H/stride,W/stride,2 * key_depth]."""

    def __init__(self, key_depth: int, norm: NormSpec, *, stride: int = 1):
        super().__init__()
        self.stride = stride
        self.height_axis = AxisAttention(key_depth, 2 * key_depth, norm)
        self.width_axis = AxisAttention(key_depth, 2 * key_depth, norm)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        columns = tf.transpose(x, [0, 2, 1, 3])  # [B,W,H,C]
        columns = _attend(columns, self.height_axis, training)
        rows = every_nth(tf.transpose(columns, [0, 2, 1, 3]), self.stride, 1)
        return every_nth(_attend(rows, self.width_axis, training), 1, self.stride)


def _attend(x: tf.Tensor, axis: AxisAttention, training: bool) -> tf.Tensor:
    """Attention along the third axis of x [B,S,L,C]."""
    batch, sequences, length, channels = sizes(x)
    flat = tf.reshape(x, [batch * sequences, length, channels])
    return tf.reshape(axis(flat, training=training), [batch, sequences, length, axis.value_depth])

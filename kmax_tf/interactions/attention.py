"""Attention with a batch norm per head in place of the scale 1/sqrt(d), as in MaX-DeepLab (arXiv:2012.00759)."""

import tensorflow as tf
import tf_keras

from kmax_tf.layers.activations import gelu
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.sizes import sizes

HEADS = 8


class Attention(tf_keras.layers.Layer):
    """N queries retrieve values of M keys by a softmax over the keys."""

    def __init__(self, norm: NormSpec):
        super().__init__()
        self.similarity_norm = norm.layer(axis=1)
        self.output_norm = norm.layer(axis=(1, 3))

    def call(self, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, training: bool = False) -> tf.Tensor:
        """query [B,N,K], key [B,M,K], value [B,M,V] -> [B,N,V]."""
        query, key, value = (_split_heads(x) for x in (query, key, value))
        similarity = self.similarity_norm(tf.einsum("bngd,bmgd->bgnm", query, key), training=training)
        weights = tf.cast(tf.nn.softmax(tf.cast(similarity, tf.float32)), value.dtype)
        retrieved = self.output_norm(tf.einsum("bgnm,bmgd->bgnd", weights, value), training=training)
        merged = tf.transpose(gelu(retrieved), [0, 2, 1, 3])  # [B,N,heads,V/heads]
        return tf.reshape(merged, [-1, sizes(query)[1], HEADS * value.shape[-1]])


def _split_heads(x: tf.Tensor) -> tf.Tensor:
    """[B,L,C] -> [B,L,heads,C/heads]."""
    return tf.reshape(x, [-1, sizes(x)[1], HEADS, x.shape[-1] // HEADS])

"""Position-sensitive attention compared with loops over heads and positions."""

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.layers.axial_attention import HEADS, SPAN, AxialAttention, AxisAttention, RelativePositions
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.one_pass import one_pass_loops

KEY, VALUE, CHANNELS, EPSILON = 16, 32, 12, 1e-3


def randomize(layer):
    random = np.random.default_rng(0)
    for variable in layer.weights:
        variable.assign(random.uniform(0.5, 1.5, variable.shape) * random.choice([-1, 1] if "beta" in variable.name else [1]))
    return layer


def normalize(x, norm):
    gamma, beta, mean, variance = (w.numpy() for w in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance))
    return gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta


def attend(x, layer):
    """One sequence [L,C]."""
    length, dk, dv = len(x), KEY // HEADS, VALUE // HEADS
    qkv = normalize(x @ layer.qkv_kernel.numpy(), layer.qkv_norm)
    tables = [one.embeddings.numpy() for one in (layer.query_positions, layer.key_positions, layer.value_positions)]
    similarity = np.zeros((3, 1, HEADS, length, length))
    for head in range(HEADS):
        query, key = qkv[:, head * dk : (head + 1) * dk], qkv[:, KEY + head * dk : KEY + (head + 1) * dk]
        for i in range(length):
            for j in range(length):
                offset = np.clip(j - i, 1 - SPAN, SPAN - 1) + SPAN - 1
                similarity[:, 0, head, i, j] = query[i] @ key[j], query[i] @ tables[0][offset], key[j] @ tables[1][offset]
    logits = normalize(similarity, layer.similarity_norm).sum(0)[0]
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    retrieved = np.zeros((2, 1, HEADS, length, dv))
    for head in range(HEADS):
        value = qkv[:, 2 * KEY + head * dv : 2 * KEY + (head + 1) * dv]
        for i in range(length):
            offsets = np.clip(np.arange(length) - i, 1 - SPAN, SPAN - 1) + SPAN - 1
            retrieved[0, 0, head, i] = weights[head, i] @ value
            retrieved[1, 0, head, i] = weights[head, i] @ tables[2][offsets]
    output = normalize(retrieved, layer.output_norm).sum(0)[0]  # [G,L,dv]
    return np.concatenate(list(output), -1)


def test_one_axis():
    layer = AxisAttention(KEY, VALUE, NormSpec(epsilon=EPSILON))
    x = np.random.default_rng(1).standard_normal((3, 7, CHANNELS)).astype(np.float32)
    layer(x)
    randomize(layer)
    expected = np.stack([attend(sequence.astype(np.float64), layer) for sequence in x])
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-4)
    layer.fold_norm()
    for compiled in (False, True):
        with one_pass_loops(compiled):
            np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_height_then_width(stride):
    layer = AxialAttention(KEY, NormSpec(epsilon=EPSILON), stride=stride)
    x = np.random.default_rng(1).standard_normal((2, 5, 3, CHANNELS)).astype(np.float32)
    layer(x)
    randomize(layer)
    columns = np.stack([[attend(image[:, c], layer.height_axis) for c in range(3)] for image in x.astype(np.float64)])
    rows = columns.transpose(0, 2, 1, 3)[:, ::stride]  # [B,H,W,2K]
    expected = np.stack([[attend(row, layer.width_axis) for row in image] for image in rows])[:, :, ::stride]
    assert expected.shape == (2, 5 if stride == 1 else 3, 3 if stride == 1 else 2, 2 * KEY)
    np.testing.assert_allclose(layer(x), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("length", [4, 300])
def test_relative_positions(length):
    layer = RelativePositions(2)
    table = layer(length).numpy()
    embeddings = layer.embeddings.numpy()
    assert embeddings.shape == (509, 2)
    for i, j in [(0, 0), (0, length - 1), (length - 1, 0), (length // 2, 1)]:
        np.testing.assert_array_equal(table[i, j], embeddings[np.clip(j - i + 254, 0, 508)])
    assert table.shape == (length, length, 2)


def test_any_size_after_building():
    layer = AxialAttention(KEY, NormSpec())
    layer(tf.zeros([1, 3, 3, CHANNELS]))
    dynamic = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, CHANNELS])], autograph=False)
    x = tf.random.stateless_normal([2, 6, 9, CHANNELS], [0, 0])
    np.testing.assert_allclose(dynamic(x), layer(x), rtol=1e-5, atol=1e-5)

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.layers.drop_path import Dropout, DropPath
from kmax_tf.randomness import random_stream


def drop(layer, shape, seed=(1, 2)):
    with random_stream(tf.constant(seed)):
        return layer(tf.ones(shape), training=True).numpy()


def test_drop_path_keeps_whole_examples_and_the_mean():
    output = drop(DropPath(0.8), [20000, 3, 2])
    values = output[:, :1, :1]
    np.testing.assert_array_equal(output, np.broadcast_to(values, output.shape))
    assert set(np.unique(values)) == {0.0, np.float32(1 / 0.8)}
    # Five standard deviations of a fraction of 0.8.
    assert np.mean(values > 0) == pytest.approx(0.8, abs=5 * np.sqrt(0.16 / 20000))


def test_dropout_drops_single_values():
    output = drop(Dropout(0.1), [100, 200])
    assert set(np.unique(output)) == {0.0, np.float32(1 / 0.9)}
    assert np.mean(output > 0) == pytest.approx(0.9, abs=5 * np.sqrt(0.09 / 20000))
    assert 0 < np.mean(output[0] > 0) < 1


@pytest.mark.parametrize("layer", [DropPath(0.5), Dropout(0.5)], ids=["path", "values"])
def test_nothing_is_dropped_at_inference(layer):
    x = tf.ones([50, 4])
    assert layer(x, training=False) is x
    assert DropPath(1.0)(x, training=True) is x


@pytest.mark.parametrize("layer", [DropPath(0.5), Dropout(0.5)], ids=["path", "values"])
def test_draws_follow_from_the_seed_of_the_stream(layer):
    first = drop(layer, [200, 4])
    np.testing.assert_array_equal(drop(layer, [200, 4]), first)
    assert not np.array_equal(drop(layer, [200, 4], seed=(1, 3)), first)

import numpy as np
import tensorflow as tf

from kmax_tf.randomness import random_stream, uniform


def test_draws_of_one_stream_differ():
    with random_stream(tf.constant([1, 2])):
        first, second = uniform([1000]).numpy(), uniform([1000]).numpy()
    assert np.corrcoef(first, second)[0, 1] < 0.15
    assert 0 <= min(first.min(), second.min()) and max(first.max(), second.max()) < 1


def test_streams_nest_and_close():
    def draw():
        return uniform([4]).numpy().tolist()

    with random_stream(tf.constant([1, 2])):
        alone = [draw(), draw()]
    with random_stream(tf.constant([1, 2])):
        first = draw()
        with random_stream(tf.constant([3, 4])):
            inner = draw()
        second = draw()
    assert [first, second] == alone and inner not in alone
    assert draw() != draw()


def test_draws_of_a_traced_step_depend_on_its_seed():
    @tf.function
    def step(seed):
        with random_stream(seed):
            return uniform([4]), uniform([4])

    one, again, other = (np.stack(step(tf.constant([7, number]))) for number in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.isin(one, other).any()

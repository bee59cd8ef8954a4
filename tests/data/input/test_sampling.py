"""The order of the examples: permutations that do not depend on where training starts and on the number of hosts."""

import numpy as np
import pytest
import tensorflow as tf

from data.input import sampling


def _numbers(positions, sizes=(40,), weights=(1.0,), *, seed=1, stream=0):
    """The examples at some positions, chosen one by one in a graph."""
    choose = sampling.training_choices(list(sizes), list(weights), seed=seed, stream=stream, skip=False)
    dataset = tf.data.Dataset.from_tensor_slices(np.asarray(positions, np.int64)).map(choose)
    return [int(number) for (number,) in dataset.as_numpy_iterator()]


def test_every_epoch_is_another_permutation():
    numbers = _numbers(range(200), [50], seed=3)
    epochs = [tuple(numbers[50 * epoch : 50 * epoch + 50]) for epoch in range(4)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert len(set(epochs)) == 4


def test_order_depends_only_on_seed_and_stream():
    sequence = _numbers(range(500))
    assert _numbers(range(499, -1, -1)) == sequence[::-1]
    others = [_numbers(range(40), seed=2), _numbers(range(40), stream=1), _numbers(range(40), seed=-1)]
    # All 64 bits of the seed count.
    others += [_numbers(range(40), seed=seed) for seed in (257, 1 + 2**32, -(2**63), 2**63 - 1)]
    assert len({tuple(other) for other in [sequence[:40], *others]}) == 8
    assert all(sorted(other) == list(range(40)) for other in others)


def test_many_epochs_are_many_permutations():
    """TensorFlow's index_shuffle has only 256 permutations if one number of its seed varies."""
    numbers = np.array(_numbers(range(0, 600 * 5), [5])).reshape(600, 5)
    assert len({tuple(epoch) for epoch in numbers.tolist()}) > 100
    # Each example comes first about equally often.
    assert np.bincount(numbers[:, 0]).min() > 80


@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_shards_divide_every_batch(num_shards):
    for step in range(5):
        shards = [sampling.positions(step, batch_size=8, shard=shard, num_shards=num_shards) for shard in range(num_shards)]
        used = np.concatenate(shards).tolist()
        assert all(len(positions) == 8 // num_shards for positions in shards)
        assert used == list(range(8 * step, 8 * step + 8))


def test_sources_share_every_thousand_positions_by_weight():
    picked = _numbers(range(4000), [70, 30], [3.0, 1.0], seed=2)
    for first in range(0, 4000, 1000):
        block = picked[first : first + 1000]
        assert sum(i < 70 for i in block) == 750
        assert len({i < 70 for i in block[:20]}) == 2
    # Each source uses all its examples before it repeats one.
    for members, size in (([i for i in picked if i < 70], 70), ([i for i in picked if i >= 70], 30)):
        for epoch in range(len(members) // size):
            assert len(set(members[epoch * size : (epoch + 1) * size])) == size


def test_mixed_order_can_start_anywhere():
    sizes, weights = [5, 8, 3], [0.2, 0.7, 0.0001]
    sequence = _numbers(range(2500), sizes, weights)
    assert _numbers(range(2499, -1, -1), sizes, weights) == sequence[::-1]
    assert sequence != _numbers(range(2500), sizes, weights, seed=3)
    # The rarest source still has one position.
    assert sum(i >= 13 for i in sequence[:1000]) == 1


@pytest.mark.parametrize(("count", "first"), [(2, 0.7), (10, 0.91), (20, 0.9), (50, 0.5), (999, 0.5)])
def test_shares_are_exact_to_a_thousandth(count, first):
    weights = [first] + [(1 - first) / (count - 1)] * (count - 1)
    shares = np.bincount(_numbers(range(1000), [1] * count, weights, seed=0), minlength=count)
    assert shares.min() >= 1
    if count < 100:
        np.testing.assert_allclose(shares / 1000, weights, atol=0.001)


def test_replacements_of_bad_examples_depend_only_on_the_position():
    arguments = {"seed": 4, "stream": 0}
    plain = sampling.training_choices([9], [1.0], skip=False, **arguments)
    skipping = sampling.training_choices([9], [1.0], skip=True, **arguments)
    for position in map(tf.constant, np.array([0, 5, 33])):
        first, *others = skipping(position).numpy()
        assert plain(position).numpy().tolist() == [first]
        assert [first, *others] == skipping(position).numpy().tolist()
        assert len(others) == 30 and len(set(others)) > 4 and set(others) <= set(range(9))
    # With several sources, a bad example is replaced by one of the same source.
    mixed = sampling.training_choices([5, 7], [1.0, 1.0], skip=True, **arguments)
    for position in map(tf.constant, np.arange(20)):
        first, *others = mixed(position).numpy()
        assert {other < 5 for other in others} == {first < 5}
    assert set(mixed(tf.constant(3, tf.int64)).numpy()) <= set(range(12))

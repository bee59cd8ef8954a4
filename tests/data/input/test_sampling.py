"""The order of the examples: permutations that do not depend on where training starts and on the number of hosts."""

import numpy as np
import pytest

from data.input import sampling


def test_every_epoch_is_another_permutation():
    order = sampling.ExampleOrder(50, seed=3)
    epochs = [[order.at(50 * epoch + i) for i in range(50)] for epoch in range(4)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_order_depends_only_on_seed_and_stream():
    positions = range(500)
    first = sampling.ExampleOrder(40, seed=1)
    sequence = [first.at(p) for p in positions]
    again = sampling.ExampleOrder(40, seed=1)
    assert [again.at(p) for p in reversed(positions)] == sequence[::-1]
    assert [sampling.ExampleOrder(40, seed=2).at(p) for p in range(40)] != sequence[:40]
    assert [sampling.ExampleOrder(40, seed=1, stream=(1,)).at(p) for p in range(40)] != sequence[:40]
    assert sorted(sampling.ExampleOrder(40, seed=-1).at(p) for p in range(40)) == list(range(40))


@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_shards_divide_every_batch(num_shards):
    per_shard = 8 // num_shards
    for step in range(5):
        used = [
            sampling.position(step * per_shard + i, batch_size=8, shard=shard, num_shards=num_shards)
            for shard in range(num_shards)
            for i in range(per_shard)
        ]
        assert used == list(range(8 * step, 8 * step + 8))


def test_sources_share_every_thousand_positions_by_weight():
    order = sampling.MixedOrder([70, 30], [3.0, 1.0], seed=2)
    picked = [order.at(p) for p in range(4000)]
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
    first = sampling.MixedOrder(sizes, weights, seed=1)
    sequence = [first.at(p) for p in range(2500)]
    again = sampling.MixedOrder(sizes, weights, seed=1)
    assert [again.at(p) for p in range(2499, -1, -1)] == sequence[::-1]
    assert sequence != [sampling.MixedOrder(sizes, weights, seed=3).at(p) for p in range(2500)]
    # The rarest source still has one position.
    assert sum(i >= 13 for i in sequence[:1000]) == 1


@pytest.mark.parametrize(("count", "first"), [(2, 0.7), (10, 0.91), (20, 0.9), (50, 0.5), (999, 0.5)])
def test_shares_are_exact_to_a_thousandth(count, first):
    weights = [first] + [(1 - first) / (count - 1)] * (count - 1)
    order = sampling.MixedOrder([1] * count, weights, seed=0)
    shares = np.bincount([order.at(p) for p in range(1000)], minlength=count)
    assert shares.min() >= 1
    if count < 100:
        np.testing.assert_allclose(shares / 1000, weights, atol=0.001)


def test_replacements_of_bad_examples_depend_only_on_the_position():
    arguments = {"seed": 4, "stream": 0}
    plain = sampling.training_choices([9], [1.0], skip=False, **arguments)
    skipping = sampling.training_choices([9], [1.0], skip=True, **arguments)
    for position in (0, 5, 33):
        first, *others = skipping(position)
        assert list(plain(position)) == [first]
        assert [first, *others] == list(skipping(position))
        assert len(set(others)) > 4 and set(others) <= set(range(9))
    # With several sources, a bad example is replaced by one of the same source.
    mixed = sampling.training_choices([5, 7], [1.0, 1.0], skip=True, **arguments)
    for position in range(20):
        first, *others = mixed(position)
        assert {other < 5 for other in others} == {first < 5}
    assert list(skipping(1))[1:] != list(skipping(2))[1:]

"""Order of the examples: permutations, independent of where training starts and of the number of hosts."""

import pytest

from data import sampling


def test_every_epoch_is_another_permutation():
    order = sampling.ExampleOrder(50, seed=3)
    epochs = [[order.at(50 * epoch + i) for i in range(50)] for epoch in range(4)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_order_depends_on_seed_and_stream_alone():
    positions = range(500)
    first = sampling.ExampleOrder(40, seed=1)
    sequence = [first.at(p) for p in positions]
    again = sampling.ExampleOrder(40, seed=1)
    assert [again.at(p) for p in reversed(positions)] == sequence[::-1]
    assert [sampling.ExampleOrder(40, seed=2).at(p) for p in range(40)] != sequence[:40]
    assert [sampling.ExampleOrder(40, seed=1, stream=1).at(p) for p in range(40)] != sequence[:40]
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

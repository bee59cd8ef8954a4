"""The assignment compared with scipy's, and on difficult inputs."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import linear_sum_assignment

from kmax_tf.matching import match, nonfinite_costs

# Numbers of rows and slots: those published for COCO and Cityscapes, and small ones with more or fewer rows than slots.
COCO, CITYSCAPES = (48, 181, 128), (6, 267, 256)
SMALL, WIDE = (256, 20, 16), (256, 9, 24)
KINDS = {
    "uniform": lambda random, shape: random.random(shape),
    "integers": lambda random, shape: random.integers(0, 4, shape),
    "dice": lambda random, shape: -(random.random(shape) ** 8),
    "two values": lambda random, shape: random.integers(0, 2, shape) - 0.5,
    "product": lambda random, shape: random.random(shape[:2])[..., None] * random.random((shape[0], 1, shape[2])),
}


def check(cost, valid, tolerance=2e-6):
    """Checks that every assignment is legal and as cheap as scipy's, up to `tolerance` times the cost range per row."""
    cost = np.asarray(cost, np.float32)
    slots = match(cost, valid).numpy()
    assert slots.shape == valid.shape and slots.dtype == np.int32
    for image_cost, image_valid, image_slots in zip(cost.astype(np.float64), valid, slots):
        check_legal(image_valid, image_slots, image_cost.shape[1])
        rows = np.flatnonzero(image_valid & (image_slots >= 0))
        best = image_cost[image_valid][linear_sum_assignment(image_cost[image_valid])].sum()
        excess = image_cost[rows, image_slots[rows]].sum() - best
        assert excess <= tolerance * len(rows) * max(1.0, np.ptp(image_cost)), excess


def check_legal(valid, slots, slot_count):
    assigned = slots[slots >= 0]
    assert (slots[~valid] == -1).all()
    assert len(assigned) == min(valid.sum(), slot_count)
    assert len(set(assigned.tolist())) == len(assigned) and (assigned < slot_count).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [COCO, CITYSCAPES, SMALL, WIDE], ids=str)
def test_against_scipy(shape, kind):
    random = np.random.default_rng(sum(shape))
    # From images without valid rows to images where all rows are valid.
    share = np.linspace(0, 1, shape[0])[:, None]
    valid = random.random(shape[:2]) < share
    assert valid[-1].all() and not valid[0].any()
    check(KINDS[kind](random, shape), valid)


@pytest.mark.parametrize("sign", [1, -1])
def test_costs_that_make_every_row_want_the_same_slots(sign):
    batch, rows, slots = CITYSCAPES
    cost = sign * np.arange(1, rows + 1)[:, None] * np.arange(1, slots + 1) / (rows * slots)
    valid = np.random.default_rng(0).random((batch, rows)) < np.linspace(0.1, 1, batch)[:, None]
    check(np.repeat(cost[None], batch, 0), valid)


@pytest.mark.parametrize("value", [0.0, -1.0, 7.5])
def test_equal_costs(value):
    valid = np.random.default_rng(0).random(SMALL[:2]) < 0.6
    check(np.full(SMALL, value), valid)


def test_large_offsets_and_small_differences():
    random = np.random.default_rng(0)
    valid = random.random(SMALL[:2]) < 0.5
    # 1000 + k/64 is exact in float32.
    check(1000 + random.integers(0, 64, SMALL) / 64, valid)


@pytest.mark.parametrize(("rows", "slots"), [(1, 5), (5, 1), (1, 1)])
def test_one_row_or_one_slot(rows, slots):
    random = np.random.default_rng(0)
    check(random.random((64, rows, slots)), random.random((64, rows)) < 0.7)


def test_valid_can_be_numbers():
    cost = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    valid = np.array([[1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(match(cost, valid.astype(np.float32)), match(cost, valid.astype(bool)))


def test_a_batch_gives_the_same_result_as_single_images():
    random = np.random.default_rng(0)
    cost, valid = random.random((12, 20, 16)).astype(np.float32), random.random((12, 20)) < 0.6
    together = match(cost, valid).numpy()
    alone = np.concatenate([match(cost[i : i + 1], valid[i : i + 1]).numpy() for i in range(12)])
    np.testing.assert_array_equal(together, alone)


def corrupt(cost, where, value):
    corrupted = np.array(cost)
    corrupted[where] = value
    return corrupted


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["entries", "row", "column", "everything"])
@pytest.mark.timeout(60)
def test_nonfinite_costs_give_a_legal_assignment(value, where):
    random = np.random.default_rng(0)
    cost, valid = random.random(SMALL).astype(np.float32), random.random(SMALL[:2]) < 0.7
    places = {
        "entries": random.random(SMALL) < 0.2,
        "row": np.s_[:, 3],
        "column": np.s_[:, :, 5],
        "everything": np.s_[:],
    }
    corrupted = corrupt(cost, places[where], value)
    for image_valid, slots in zip(valid, match(corrupted, valid).numpy()):
        check_legal(image_valid, slots, SMALL[2])
    counted = nonfinite_costs(tf.constant(corrupted), tf.constant(valid)).numpy()
    np.testing.assert_array_equal(counted, (~np.isfinite(corrupted) & valid[..., None]).sum((1, 2)))
    assert counted.max() > 0


def test_nonfinite_costs_of_one_image_do_not_affect_the_others():
    random = np.random.default_rng(0)
    cost, valid = random.random((12, 20, 16)).astype(np.float32), random.random((12, 20)) < 0.6
    corrupted = corrupt(cost, 4, np.nan)
    good = np.arange(12) != 4
    np.testing.assert_array_equal(match(corrupted, valid).numpy()[good], match(cost, valid).numpy()[good])


def test_a_row_of_nan_gets_a_slot_that_the_finite_rows_do_not_use():
    random = np.random.default_rng(0)
    cost, valid = random.random((64, 9, 12)).astype(np.float32), random.random((64, 9)) < 0.7
    valid[:, 2] = True
    slots = match(corrupt(cost, np.s_[:, 2], np.nan), valid).numpy()
    finite = valid & (np.arange(9) != 2)
    for image_cost, image_valid, image_slots in zip(cost.astype(np.float64), finite, slots):
        best = image_cost[image_valid][linear_sum_assignment(image_cost[image_valid])].sum()
        assert image_cost[image_valid, image_slots[image_valid]].sum() == pytest.approx(best, abs=1e-4)


def test_minus_infinity_counts_as_the_least_cost():
    random = np.random.default_rng(0)
    cost, valid = random.random((12, 20, 16)).astype(np.float32), np.ones((12, 20), bool)
    places = random.random(cost.shape) < 0.1
    least = np.min(np.where(places, np.inf, cost), (1, 2), keepdims=True)
    np.testing.assert_array_equal(match(corrupt(cost, places, -np.inf), valid), match(np.where(places, least, cost), valid))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_inside_another_function(jit_compile):
    random = np.random.default_rng(0)
    cost, valid = random.random((8, 20, 16)).astype(np.float32), random.random((8, 20)) < 0.6

    @tf.function(jit_compile=jit_compile)
    def step(cost, valid):
        return match(cost * 2.0, valid) + 1

    np.testing.assert_array_equal(step(cost, valid) - 1, match(cost, valid))


def test_the_assignment_has_no_gradient():
    cost = tf.Variable(np.random.default_rng(0).random((12, 20, 16)), dtype=tf.float32)
    with tf.GradientTape() as tape:
        slots = match(cost, tf.ones([12, 20], tf.bool))
        total = tf.reduce_sum(cost * tf.one_hot(slots, 16))
    np.testing.assert_array_equal(tape.gradient(total, cost), tf.one_hot(slots, 16))

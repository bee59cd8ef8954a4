"""Assigns ground-truth masks to slots: exact, batched, on the device, with static shapes.

Solves the rectangular assignment problem by shortest augmenting paths (Jonker and Volgenant 1987; Crouse 2016, "On
implementing 2D rectangular assignment algorithms"): every valid row takes one augmentation, other rows cost nothing.
"""

from typing import NamedTuple

import tensorflow as tf

_UNREACHED = 3.0e38


@tf.function(jit_compile=True, autograph=False)
def match(cost: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Assigns rows to distinct slots with minimum total cost.

    If an image has more valid rows than slots, all slots are used and the most expensive rows get none. NaN and +inf count as
    worse than any finite cost and -inf as the smallest one, so that the search ends on every input; `nonfinite_costs` counts
    such entries.

    Args:
      cost: [B,G,N], float; cost of giving slot n to ground-truth row g.
      valid: [B,G], bool or 0/1; rows that exist.

    Returns:
      Slot of each row, [B,G] int32; -1 if the row is not valid or gets no slot.
    """
    valid = tf.cast(valid, tf.bool)
    cost = _finite(tf.cast(cost, tf.float32), valid)
    rows, slots = cost.shape[1], cost.shape[2]
    allowed = tf.ones([tf.shape(cost)[0], slots], tf.bool)
    if rows > slots:
        # Surplus rows take extra free columns, one for each valid row beyond the number of slots.
        surplus = tf.reduce_sum(tf.cast(valid, tf.int32), 1, keepdims=True) - slots
        allowed = tf.concat([allowed, tf.range(rows - slots) < surplus], 1)
        cost = tf.pad(cost, [[0, 0], [0, 0], [0, rows - slots]])
    column_of_row = _solve(cost, valid, allowed)
    return tf.where(column_of_row < slots, column_of_row, -1)


def nonfinite_costs(cost: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Number of entries in valid rows that are NaN or infinite, [B] int32, of cost [B,G,N] and valid [B,G]."""
    bad = ~tf.math.is_finite(cost) & tf.cast(valid, tf.bool)[:, :, None]
    return tf.reduce_sum(tf.cast(bad, tf.int32), [1, 2])


def _finite(cost: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Shifts costs to start at 0; -inf becomes the least finite cost, and +inf and NaN more than any assignment costs."""
    finite = tf.math.is_finite(cost) & valid[:, :, None]
    low = tf.reduce_min(tf.where(finite, cost, _UNREACHED), [1, 2], keepdims=True)
    high = tf.reduce_max(tf.where(finite, cost, -_UNREACHED), [1, 2], keepdims=True)
    some = tf.reduce_any(finite, [1, 2], keepdims=True)
    low, high = tf.where(some, low, 0.0), tf.where(some, high, 0.0)
    worst = (high - low + 1.0) * float(min(cost.shape[1], cost.shape[2]) + 1)
    shifted = tf.where(finite, cost - low, worst)
    return tf.where((cost < low) & valid[:, :, None], 0.0, shifted)


class _State(NamedTuple):
    """Partial assignment and dual prices of the rows and columns of each image."""

    column_of_row: tf.Tensor  # [B,R], -1: free
    row_of_column: tf.Tensor  # [B,C], -1: free
    row_price: tf.Tensor  # [B,R]
    column_price: tf.Tensor  # [B,C]


class _Search(NamedTuple):
    """A shortest-path tree grown from one row of each image until it reaches a free column."""

    row: tf.Tensor  # [B], the row added last
    distance: tf.Tensor  # [B], its distance from the root
    reached: tf.Tensor  # [B,C], shortest known distance of each column
    parent: tf.Tensor  # [B,C], row before the column on that path
    closed: tf.Tensor  # [B,C], columns whose distance is final
    sink: tf.Tensor  # [B], the free column that ends the search, -1 while it runs


def _solve(cost: tf.Tensor, active: tf.Tensor, allowed: tf.Tensor) -> tf.Tensor:
    """Column of each active row, [B,R] int32; needs at least as many allowed columns as active rows."""
    batch, rows, columns = tf.shape(cost)[0], cost.shape[1], cost.shape[2]
    order = tf.argsort(tf.cast(~active, tf.int32), stable=True)  # active rows first
    counts = tf.reduce_sum(tf.cast(active, tf.int32), 1)
    state = _State(
        tf.fill([batch, rows], -1), tf.fill([batch, columns], -1), tf.zeros([batch, rows]), tf.zeros([batch, columns])
    )

    def add_row(position: tf.Tensor, *state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        root = order[:, position]
        return position + 1, *_augment(cost, allowed, _State(*state), root, position < counts)

    _, column_of_row, *_ = tf.while_loop(
        lambda position, *_: position < tf.reduce_max(counts),
        add_row,
        (tf.constant(0), *state),
        maximum_iterations=rows,
    )
    return column_of_row


def _augment(cost: tf.Tensor, allowed: tf.Tensor, state: _State, root: tf.Tensor, wanted: tf.Tensor) -> _State:
    """Adds the row `root` [B] to the assignment of the images where it is `wanted` [B]."""
    search = _find_path(cost, allowed, state, root, wanted)
    found = search.sink >= 0
    final = tf.where(found, _at(search.reached, search.sink), 0.0)
    # The new prices keep reduced costs non-negative, and zero for assigned pairs.
    gain = tf.where(search.closed & found[:, None], final[:, None] - search.reached, 0.0)
    rows = cost.shape[1]
    assigned = tf.one_hot(tf.where(search.closed, state.row_of_column, -1), rows)  # [B,C,R]
    row_gain = tf.einsum("bc,bcr->br", gain, assigned) + tf.one_hot(root, rows) * final[:, None]
    state = state._replace(row_price=state.row_price + row_gain, column_price=state.column_price - gain)
    return _flip_path(state, search, root)


def _find_path(cost: tf.Tensor, allowed: tf.Tensor, state: _State, root: tf.Tensor, wanted: tf.Tensor) -> _Search:
    batch, columns = tf.shape(cost)[0], cost.shape[2]
    start = _Search(
        root,
        tf.zeros([batch]),
        tf.fill([batch, columns], _UNREACHED),
        tf.repeat(root[:, None], columns, 1),
        tf.zeros([batch, columns], tf.bool),
        tf.where(wanted, -1, -2),
    )

    def grow(*values: tf.Tensor) -> _Search:
        search = _Search(*values)
        running = search.sink == -1
        row_cost = tf.gather(cost, search.row, axis=1, batch_dims=1) - state.column_price
        through = search.distance[:, None] + row_cost - _at(state.row_price, search.row)[:, None]
        shorter = (through < search.reached) & ~search.closed & allowed & running[:, None]
        reached = tf.where(shorter, through, search.reached)
        parent = tf.where(shorter, search.row[:, None], search.parent)
        nearest = _nearest(tf.where(search.closed | ~allowed, _UNREACHED, reached), state.row_of_column)
        owner = _at(state.row_of_column, nearest)
        return _Search(
            tf.where(running & (owner >= 0), owner, search.row),
            tf.where(running, _at(reached, nearest), search.distance),
            reached,
            parent,
            search.closed | (tf.one_hot(nearest, columns, True, False) & (running & (owner >= 0))[:, None]),
            tf.where(running & (owner < 0), nearest, search.sink),
        )

    return _Search(
        *tf.while_loop(
            lambda *values: tf.reduce_any(_Search(*values).sink == -1), grow, tuple(start), maximum_iterations=columns + 1
        )
    )


def _nearest(distance: tf.Tensor, row_of_column: tf.Tensor) -> tf.Tensor:
    """The column with the least distance, [B]; ties go to a free column."""
    least = distance <= tf.reduce_min(distance, 1, keepdims=True)
    return tf.argmax(tf.cast(least, tf.int32) * (1 + tf.cast(row_of_column < 0, tf.int32)), 1, output_type=tf.int32)


def _flip_path(state: _State, search: _Search, root: tf.Tensor) -> _State:
    """Assigns each column on the path from the sink back to the root to its parent."""
    rows, columns = state.column_of_row.shape[1], state.row_of_column.shape[1]

    def step(column: tf.Tensor, column_of_row: tf.Tensor, row_of_column: tf.Tensor) -> tuple[tf.Tensor, ...]:
        running = column >= 0
        row = _at(search.parent, column)
        previous = _at(column_of_row, row)
        here_row = tf.one_hot(row, rows, True, False) & running[:, None]
        here_column = tf.one_hot(column, columns, True, False)
        column_of_row = tf.where(here_row, column[:, None], column_of_row)
        row_of_column = tf.where(here_column, row[:, None], row_of_column)
        return tf.where(running & (row != root), previous, -1), column_of_row, row_of_column

    _, column_of_row, row_of_column = tf.while_loop(
        lambda column, *_: tf.reduce_any(column >= 0),
        step,
        (search.sink, state.column_of_row, state.row_of_column),
        maximum_iterations=columns + 1,
    )
    return state._replace(column_of_row=column_of_row, row_of_column=row_of_column)


def _at(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """values[b, index[b]] of values [B,n]; negative indices count as 0."""
    return tf.gather(values, tf.maximum(index, 0), axis=1, batch_dims=1)

"""Costs of small graphs, compared with numbers worked out by hand."""

import pytest
import tensorflow as tf

from kmax_tf.cost.model_cost import CostError, graph_cost


def _count(function, *shapes: tuple[int | None, ...]) -> int:
    return sum(cost.multiply_adds for cost in _costs(function, *shapes))


def _costs(function, *shapes: tuple[int | None, ...]):
    traced = tf.function(function, autograph=False).get_concrete_function(*(tf.TensorSpec(shape) for shape in shapes))
    return list(graph_cost(traced.outputs))


@pytest.mark.parametrize(
    ("strides", "padding", "dilations", "places"),
    [
        (1, "SAME", 1, 9 * 11),
        (1, "VALID", 1, 7 * 9),
        (2, "SAME", 1, 5 * 6),
        (2, "VALID", 1, 4 * 5),
        (1, "VALID", 2, 5 * 7),
        (1, [[0, 0], [1, 2], [0, 1], [0, 0]], 1, 10 * 10),
    ],
)
def test_convolution(strides, padding, dilations, places):
    """Kernel 3x3, 5 input and 7 output channels, batch 2, image 9x11."""
    expected = 2 * places * 7 * (3 * 3 * 5)
    found = _count(lambda x, w: tf.nn.conv2d(x, w, strides, padding, dilations=dilations), (2, 9, 11, 5), (3, 3, 5, 7))
    assert found == expected


def test_grouped_convolution_sums_only_over_its_group():
    found = _count(lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), (1, 4, 4, 6), (3, 3, 2, 9))
    assert found == 4 * 4 * 9 * (3 * 3 * 2)


def test_depthwise_convolution():
    """Two outputs for each of 5 channels, stride 2 on 9x11."""
    found = _count(lambda x, w: tf.nn.depthwise_conv2d(x, w, [1, 2, 2, 1], "SAME"), (1, 9, 11, 5), (3, 5, 5, 2))
    assert found == (5 * 6) * (5 * 2) * (3 * 5)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matrix_product(transpose_a, transpose_b):
    a, b = (4, 3) if transpose_a else (3, 4), (5, 4) if transpose_b else (4, 5)
    assert _count(lambda x, y: tf.matmul(x, y, transpose_a, transpose_b), a, b) == 3 * 4 * 5


@pytest.mark.parametrize(("adjoint", "shape"), [(False, (2, 1, 3, 4)), (True, (2, 1, 4, 3))])
def test_batched_matrix_products_are_broadcast(adjoint, shape):
    assert _count(lambda x, y: tf.matmul(x, y, adjoint_a=adjoint), shape, (7, 4, 5)) == (2 * 7) * 3 * 4 * 5


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("bpn,bpe->bne", [(2, 30, 4), (2, 30, 6)], 2 * 30 * 4 * 6),
        ("bhwd,bnd->bhwn", [(2, 3, 5, 7), (2, 11, 7)], 2 * 3 * 5 * 7 * 11),
        ("nglm,lmd->ngld", [(3, 8, 5, 5), (5, 5, 4)], 3 * 8 * 5 * 5 * 4),
        ("i,j->ij", [(3,), (5,)], 3 * 5),
        ("ij,ij->", [(3, 5), (3, 5)], 3 * 5),
        ("...ij,jk->...ik", [(2, 3, 4, 5), (5, 6)], 2 * 3 * 4 * 5 * 6),
        ("...ij,...jk->...ik", [(2, 3, 4, 5), (3, 5, 6)], 2 * 3 * 4 * 5 * 6),
        ("...ij,...jk->...ik", [(2, 1, 4, 5), (7, 5, 6)], 2 * 7 * 4 * 5 * 6),
    ],
)
def test_einsum(equation, shapes, expected):
    assert _count(lambda x, y: tf.einsum(equation, x, y), *shapes) == expected


def test_einsum_of_one_tensor_multiplies_nothing():
    assert _count(lambda x: tf.einsum("ijk->kj", x), (3, 4, 5)) == 0


def test_products_that_the_outputs_do_not_depend_on_are_not_counted():
    def function(x, y):
        product = tf.matmul(x, y)
        tf.matmul(product, product)
        return tf.nn.relu(product)

    assert _count(function, (3, 4), (4, 3)) == 3 * 4 * 3


def test_a_product_that_is_used_twice_is_counted_once():
    def function(x, y):
        product = tf.matmul(x, y)
        return product + tf.nn.relu(product)

    assert _count(function, (3, 4), (4, 3)) == 3 * 4 * 3


@pytest.mark.parametrize("jit_compile", [False, True])
def test_only_the_used_results_of_nested_calls_are_counted(jit_compile):
    inner = tf.function(lambda x, y: (tf.matmul(x, y), tf.matmul(y, x)))
    middle = tf.function(lambda x, y: inner(x, y)[0], jit_compile=jit_compile)
    costs = _costs(lambda x, y: middle(x, y) + middle(x, y), (3, 4), (4, 3))
    assert [cost.multiply_adds for cost in costs] == [3 * 4 * 3] * 2
    assert all(cost.name.count("/") == 2 and cost.name.endswith("/MatMul") for cost in costs)
    assert _count(inner, (3, 4), (4, 3)) == 3 * 4 * 3 + 4 * 3 * 4


def test_gradients_are_counted():
    """The gradients of x W are a product with W and one with x."""

    def function(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tf.matmul(x, w)
        return tape.gradient(y, [x, w], output_gradients=y)

    assert _count(function, (3, 4), (4, 5)) == 3 * (3 * 4 * 5)


def test_dynamic_sizes_are_refused():
    with pytest.raises(CostError, match=r"^head/MatMul: .*\(None, 4\); trace the graph with a static input shape"):
        _count(lambda x, y: tf.matmul(x, y, name="head/MatMul"), (None, 4), (4, 5))


def test_loops_of_products_are_refused():
    def function(x, y):
        return tf.while_loop(lambda i, _: i < 3, lambda i, z: (i + 1, tf.matmul(x, y) + z), (0, x))

    with pytest.raises(CostError, match="^while .*While.* products inside"):
        _count(function, (3, 3), (3, 3))


def test_loops_without_products_cost_nothing():
    def function(x):
        return tf.while_loop(lambda i, _: i < 3, lambda i, z: (i + 1, z * 2.0), (0, tf.matmul(x, x)))

    assert _count(function, (3, 3)) == 27


def test_products_without_a_rule_are_refused():
    with pytest.raises(CostError, match="no rule for the cost of Conv3D"):
        _count(lambda x, w: tf.nn.conv3d(x, w, [1] * 5, "SAME"), (1, 4, 4, 4, 2), (3, 3, 3, 2, 2))

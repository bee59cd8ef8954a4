"""Counts the multiply-adds of a traced graph from its shapes, without running it.

Counts convolutions, matrix products and einsums, as published figures do. A convolution costs as much at the padded border as
elsewhere. Normalization, activations, resizing and softmax are not counted.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from protos.errors import UserError

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# Other products, which are an error because ignoring them would make the sum too low.
_UNKNOWN_PRODUCT = re.compile(r"Conv[123]D|Conv2d|MatMul|Einsum|^Xla(Conv|Dot)")


class CostError(UserError):
    """The cost of a graph cannot be derived from its shapes; the message names the operation."""


@dataclasses.dataclass(frozen=True)
class OpCost:
    """One product: `name` in the graph, prefixed by the names of the enclosing calls with slashes; `kind` is the op type."""

    name: str
    kind: str
    multiply_adds: int


def graph_cost(outputs: Sequence[tf.Tensor]) -> list[OpCost]:
    """The products that some tensors of one graph depend on.

    Follows function calls, also nested ones, from those of their results that are needed; treats all arguments of a call as
    needed.

    Raises:
      CostError: a product has a dynamic dimension, has an unsupported type, or is inside a loop or branch, where shapes do
        not determine how often it runs.
    """
    return list(_costs(outputs, ""))


def _costs(outputs: Sequence[tf.Tensor], prefix: str) -> Iterator[OpCost]:
    for op, needed in _ancestors(outputs).items():
        name = prefix + op.name
        if op.type in CALLS:
            yield from _costs([_function(op, op.get_attr("f").name).outputs[i] for i in needed], f"{name}/")
        elif op.type in _RULES:
            yield OpCost(name, op.type, _multiply_adds(op, name))
        elif _UNKNOWN_PRODUCT.search(op.type):
            raise CostError(f"{name}: there is no rule for the cost of {op.type}")
        else:
            _refuse_products_inside(op, name)


def _ancestors(outputs: Sequence[tf.Tensor]) -> dict[tf.Operation, list[int]]:
    """All operations that the outputs depend on, with the indices of their needed results."""
    found: dict[tf.Operation, list[int]] = {}
    seen: set[tuple[tf.Operation, int]] = set()
    waiting = list(outputs)
    while waiting:
        tensor = waiting.pop()
        if (tensor.op, tensor.value_index) in seen:
            continue
        seen.add((tensor.op, tensor.value_index))
        if tensor.op not in found:
            found[tensor.op] = []
            waiting.extend(tensor.op.inputs)
        found[tensor.op].append(tensor.value_index)
    return found


def _function(op: tf.Operation, name: str) -> tf.Graph:
    # TensorFlow has no public API to get from a call to the graph of its function.
    return op.graph._get_function(name).graph


def _refuse_products_inside(op: tf.Operation, name: str) -> None:
    for value in op.node_def.attr.values():
        for function in [value.func, *value.list.func]:
            if function.name and any(_costs(_function(op, function.name).outputs, f"{name}/")):
                raise CostError(f"{name} ({op.type}) has products inside: shapes do not determine how often they run")


def _multiply_adds(op: tf.Operation, name: str) -> int:
    for tensor in [*op.inputs[:2], op.outputs[0]]:
        if not tensor.shape.is_fully_defined():
            raise CostError(f"{name}: {tensor.name} has the shape {tensor.shape}; trace the graph with a static input shape")
    return _RULES[op.type](op)


def _convolution(op: tf.Operation) -> int:
    """Each output value is a sum over the window and the input channels of its group: all kernel dimensions but the last."""
    return _size(op.outputs[0].shape) * _size(op.inputs[1].shape[:-1])


def _depthwise_convolution(op: tf.Operation) -> int:
    return _size(op.outputs[0].shape) * _size(op.inputs[1].shape[:2])


def _matrix_product(transposed: str) -> Callable[[tf.Operation], int]:
    def rule(op: tf.Operation) -> int:
        inner = -2 if op.get_attr(transposed) else -1
        return _size(op.outputs[0].shape) * op.inputs[0].shape[inner]

    return rule


def _einsum(op: tf.Operation) -> int:
    """The product of the sizes of all indices, summed over or not; an einsum of one tensor costs nothing."""
    terms = op.get_attr("equation").decode().split("->")[0].split(",")
    if len(terms) == 1:
        return 0
    sides: dict[str | int, int] = {}
    for term, tensor in zip(terms, op.inputs, strict=True):
        for index, side in zip(_indices(term, tensor.shape.rank), tensor.shape.as_list(), strict=True):
            sides[index] = max(side, sides.get(index, 1))  # ellipsis axes are broadcast
    return math.prod(sides.values())


def _indices(term: str, rank: int) -> list[str | int]:
    """One name for each axis; ellipsis axes are numbered from their end, where broadcasting aligns them."""
    before, ellipsis, after = term.partition("...")
    hidden = rank - len(before) - len(after) if ellipsis else 0
    return [*before, *range(-hidden, 0), *after]


def _size(shape: tf.TensorShape) -> int:
    return math.prod(shape.as_list())


_RULES: dict[str, Callable[[tf.Operation], int]] = {
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise_convolution,
    "MatMul": _matrix_product("transpose_a"),
    "BatchMatMul": _matrix_product("adj_x"),
    "BatchMatMulV2": _matrix_product("adj_x"),
    "BatchMatMulV3": _matrix_product("adj_x"),
    "Einsum": _einsum,
}

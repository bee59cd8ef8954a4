"""Multiply-adds of a traced graph, from the shapes in it; nothing is run.

Counted are products of tensors, as published figures of networks do: convolutions, matrix products and einsums. A convolution
costs as much at the padded border as elsewhere. Normalization, activations, resizing and softmax are not counted.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from protos.errors import UserError

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# Products that the graph of a network in use does not have; leaving them out would give too low a sum.
_UNKNOWN_PRODUCT = re.compile(r"Conv[123]D|Conv2d|MatMul|Einsum|^Xla(Conv|Dot)")


class CostError(UserError):
    """The cost of a graph does not follow from its shapes; the message names the operation."""


@dataclasses.dataclass(frozen=True)
class OpCost:
    """One product: `name` in the graph, with that of each call around it before a slash; `kind` is the type of the op."""

    name: str
    kind: str
    multiply_adds: int


def graph_cost(outputs: Sequence[tf.Tensor]) -> list[OpCost]:
    """The products that the values of tensors of one graph depend on.

    Calls of functions are followed, also nested ones, from those of their results that are needed; arguments of a call all
    count as needed.

    Raises:
      CostError: a product has a dimension that is not static, is of a kind without a rule here, or is inside a loop or a
        branch, where shapes do not tell how often it runs.
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
    """All operations that values depend on, with the indices of their outputs that are needed."""
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
    # TensorFlow has no public way from a call to the graph of its function.
    return op.graph._get_function(name).graph


def _refuse_products_inside(op: tf.Operation, name: str) -> None:
    for value in op.node_def.attr.values():
        for function in [value.func, *value.list.func]:
            if function.name and any(_costs(_function(op, function.name).outputs, f"{name}/")):
                raise CostError(f"{name} ({op.type}) has products inside: shapes do not tell how often they run")


def _multiply_adds(op: tf.Operation, name: str) -> int:
    for tensor in [*op.inputs[:2], op.outputs[0]]:
        if not tensor.shape.is_fully_defined():
            raise CostError(f"{name}: {tensor.name} has the shape {tensor.shape}; trace the graph with a static input shape")
    return _RULES[op.type](op)


def _convolution(op: tf.Operation) -> int:
    """Each output value is a sum over the window and the input channels of its group: all sides of the kernel but the last."""
    return _size(op.outputs[0].shape) * _size(op.inputs[1].shape[:-1])


def _depthwise_convolution(op: tf.Operation) -> int:
    return _size(op.outputs[0].shape) * _size(op.inputs[1].shape[:2])


def _matrix_product(transposed: str) -> Callable[[tf.Operation], int]:
    def rule(op: tf.Operation) -> int:
        inner = -2 if op.get_attr(transposed) else -1
        return _size(op.outputs[0].shape) * op.inputs[0].shape[inner]

    return rule


def _einsum(op: tf.Operation) -> int:
    """The sides of all indices multiplied, of those that are summed over and those that stay; a single factor costs nothing."""
    terms = op.get_attr("equation").decode().split("->")[0].split(",")
    if len(terms) == 1:
        return 0
    sides: dict[str | int, int] = {}
    for term, tensor in zip(terms, op.inputs, strict=True):
        for index, side in zip(_indices(term, tensor.shape.rank), tensor.shape.as_list(), strict=True):
            sides[index] = max(side, sides.get(index, 1))  # those of an ellipsis are broadcast
    return math.prod(sides.values())


def _indices(term: str, rank: int) -> list[str | int]:
    """One name for each axis; those of an ellipsis are numbered from its end, where broadcasting aligns them."""
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

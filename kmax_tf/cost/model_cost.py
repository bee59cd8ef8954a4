"""The cost of a model: trainable parameters, and multiply-adds of inference for one image, counted from a traced graph.

Counts convolutions, matrix products and einsums, as published figures do. A convolution costs as much at the padded border as
elsewhere. Normalization, activations, resizing and softmax are not counted.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf

from kmax_tf.model import KMaXDeepLab
from kmax_tf.pixel_encoders.convnext import ConvNeXt
from kmax_tf.tensor_keys import CLASS_LOGITS, MASK_LOGITS, PIXEL_FEATURES
from protos.errors import UserError

# Attributes of the model; the last one is used only in training.
PARTS = ("pixel_encoder", "pixel_decoder", "kmax_decoder", "predictor", "semantic_branch")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# Other products, which are an error because ignoring them would make the sum too low.
_UNKNOWN_PRODUCT = re.compile(r"Conv[123]D|Conv2d|MatMul|Einsum|^Xla(Conv|Dot)")


class CostError(UserError):
    """The cost of a graph cannot be derived from its shapes; the message names the operation."""


class OpCost(NamedTuple):
    """One product: `name` in the graph, prefixed by the names of the enclosing calls with slashes; `kind` is one of KINDS."""

    name: str
    kind: str
    multiply_adds: int


@dataclasses.dataclass(frozen=True)
class ModelCost:
    """`parameters[part]` (trainable) and `multiply_adds[part][kind]` (inference); parts are PARTS, kinds those of KINDS.

    Parts that inference does not use have no multiply-adds. `unpublished_multiply_adds` are missing from the published figures
    of the same model: the depthwise convolutions of a ConvNeXt encoder, about 1%. The published ConvNeXt runs them as grouped
    convolutions inside a function call, which its profiler does not count; it counts depthwise convolutions elsewhere.
    """

    parameters: dict[str, int]
    multiply_adds: dict[str, dict[str, int]]
    unpublished_multiply_adds: int

    @property
    def inference_parameters(self) -> int:
        """Trainable parameters without the semantic branch, which only training uses; the number that papers report."""
        return sum(self.parameters.values()) - self.parameters["semantic_branch"]

    @property
    def all_multiply_adds(self) -> int:
        """The sum over all parts and kinds."""
        return sum(sum(kinds.values()) for kinds in self.multiply_adds.values())

    @property
    def published_multiply_adds(self) -> int:
        """The number comparable with papers: all but `unpublished_multiply_adds`."""
        return self.all_multiply_adds - self.unpublished_multiply_adds


def counted_results(model: KMaXDeepLab, images: tf.Tensor) -> list[tf.Tensor]:
    """What inference computes for post-processing; the same tensors of the auxiliary outputs are used only in training."""
    outputs = model(images, training=False, any_size=True)
    return [outputs[name] for name in (CLASS_LOGITS, MASK_LOGITS, PIXEL_FEATURES)]


def model_cost(model: KMaXDeepLab, height: int, width: int) -> ModelCost:
    """Counts the cost of a model at one input size with batch size 1, by tracing its graph without running it.

    The size is not padded to 32k+1. Counts every convolution, matrix product and einsum that the class logits, mask logits or
    pixel features of the final prediction depend on, including the product with the one-hot assignment in the k-means step.

    Raises:
      CostError: the cost of a product does not follow from its shapes, or the product is not in any part of the model.
    """
    results = tf.function(lambda images: counted_results(model, images), autograph=False)
    traced = results.get_concrete_function(tf.TensorSpec([1, height, width, 3], tf.uint8))
    layers = {getattr(model, part).name: part for part in PARTS}
    sums = {part: collections.Counter() for part in PARTS}
    for cost in graph_cost(traced.outputs):
        part = next((layers[scope] for scope in cost.name.split("/") if scope in layers), None)
        if part is None:
            raise CostError(f"{cost.name}: this product is not in any of {', '.join(PARTS)}")
        sums[part][cost.kind] += cost.multiply_adds
    return ModelCost(
        {part: sum(math.prod(v.shape) for v in getattr(model, part).trainable_variables) for part in PARTS},
        {part: dict(kinds) for part, kinds in sums.items() if kinds},
        sums["pixel_encoder"]["depthwise_convolutions"] if isinstance(model.pixel_encoder, ConvNeXt) else 0,
    )


def graph_cost(outputs: Sequence[tf.Tensor], prefix: str = "") -> Iterator[OpCost]:
    """The products that some tensors of one graph depend on; `prefix` is put before their names.

    Follows function calls, also nested ones, from those of their results that are needed; treats all arguments of a call as
    needed.

    Raises:
      CostError: a product has a dynamic dimension, has an unsupported type, or is inside a loop or branch, where shapes do
        not determine how often it runs.
    """
    for op, needed in _ancestors(outputs).items():
        name = prefix + op.name
        if op.type in _CALLS:
            yield from graph_cost([_function(op, op.get_attr("f").name).outputs[i] for i in needed], f"{name}/")
        elif op.type in _RULES:
            for tensor in [*op.inputs[:2], op.outputs[0]]:
                if not tensor.shape.is_fully_defined():
                    shape = f"{tensor.name} has the shape {tensor.shape}"
                    raise CostError(f"{name}: {shape}; trace the graph with a static input shape")
            kind, rule = _RULES[op.type]
            yield OpCost(name, kind, rule(op))
        elif _UNKNOWN_PRODUCT.search(op.type):
            raise CostError(f"{name}: there is no rule for the cost of {op.type}")
        else:
            _refuse_products_inside(op, name)


def _ancestors(outputs: Sequence[tf.Tensor]) -> dict[tf.Operation, list[int]]:
    """All operations that the outputs depend on, with the indices of their needed results."""
    found: dict[tf.Operation, list[int]] = {}
    waiting = list(outputs)
    while waiting:
        tensor = waiting.pop()
        if tensor.op not in found:
            found[tensor.op] = []
            waiting.extend(tensor.op.inputs)
        if tensor.value_index not in found[tensor.op]:
            found[tensor.op].append(tensor.value_index)
    return found


def _function(op: tf.Operation, name: str) -> tf.Graph:
    # TensorFlow has no public API to get from a call to the graph of its function.
    return op.graph._get_function(name).graph


def _refuse_products_inside(op: tf.Operation, name: str) -> None:
    for value in op.node_def.attr.values():
        for function in [value.func, *value.list.func]:
            if function.name and any(graph_cost(_function(op, function.name).outputs, f"{name}/")):
                raise CostError(f"{name} ({op.type}) has products inside: shapes do not determine how often they run")


def _convolution(op: tf.Operation) -> int:
    """Each output value is a sum over the window and the input channels of its group: all kernel dimensions but the last."""
    return math.prod(op.outputs[0].shape) * math.prod(op.inputs[1].shape[:-1])


def _depthwise_convolution(op: tf.Operation) -> int:
    return math.prod(op.outputs[0].shape) * math.prod(op.inputs[1].shape[:2])


def _matrix_product(op: tf.Operation) -> int:
    transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
    return math.prod(op.outputs[0].shape) * op.inputs[0].shape[-2 if transposed else -1]


def _einsum(op: tf.Operation) -> int:
    """The product of the sizes of all indices, summed over or not; an einsum of one tensor costs nothing."""
    terms = op.get_attr("equation").decode().split("->")[0].split(",")
    if len(terms) == 1:
        return 0
    sides: dict[str | int, int] = {}
    for term, tensor in zip(terms, op.inputs, strict=True):
        # Ellipsis axes are numbered from their end, where broadcasting aligns them.
        before, ellipsis, after = term.partition("...")
        hidden = tensor.shape.rank - len(before) - len(after) if ellipsis else 0
        for index, side in zip([*before, *range(-hidden, 0), *after], tensor.shape, strict=True):
            sides[index] = max(side, sides.get(index, 1))
    return math.prod(sides.values())


_RULES: dict[str, tuple[str, Callable[[tf.Operation], int]]] = {
    "Conv2D": ("convolutions", _convolution),
    "DepthwiseConv2dNative": ("depthwise_convolutions", _depthwise_convolution),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), ("matrix_products", _matrix_product)),
    "Einsum": ("einsums", _einsum),
}
KINDS = tuple(dict.fromkeys(kind for kind, _ in _RULES.values()))

"""The cost of a model: trainable parameters, and multiply-adds of inference for one image."""

import collections
import dataclasses
import math

import tensorflow as tf

from kmax_tf.cost.graph_cost import CostError, graph_cost
from kmax_tf.model import KMaXDeepLab
from kmax_tf.pixel_encoders.convnext import ConvNeXt

# Attributes of the model; the last one is used only in training.
PARTS = ("pixel_encoder", "pixel_decoder", "kmax_decoder", "predictor", "semantic_branch")
KINDS = {
    "Conv2D": "convolutions",
    "DepthwiseConv2dNative": "depthwise_convolutions",
    "MatMul": "matrix_products",
    "BatchMatMul": "matrix_products",
    "BatchMatMulV2": "matrix_products",
    "BatchMatMulV3": "matrix_products",
    "Einsum": "einsums",
}
# The inputs of post-processing; the same tensors of the auxiliary outputs are used only in training.
RESULTS = ("transformer_class_logits", "pixel_space_mask_logits", "pixel_space_normalized_feature")


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


def model_cost(model: KMaXDeepLab, height: int, width: int) -> ModelCost:
    """Counts the cost of a model at one input size with batch size 1, by tracing its graph without running it.

    The size is not padded to 32k+1. Counts every convolution, matrix product and einsum that the class logits, mask logits or
    pixel features of the final prediction depend on, including the product with the one-hot assignment in the k-means step.

    Raises:
      CostError: the cost of a product does not follow from its shapes, or the product is not in any part of the model.
    """
    spec = tf.TensorSpec([1, height, width, 3], tf.uint8)
    traced = tf.function(lambda images: _results(model, images), autograph=False).get_concrete_function(spec)
    layers = {getattr(model, part).name: part for part in PARTS}
    sums = {part: collections.Counter() for part in PARTS}
    for cost in graph_cost(traced.outputs):
        part = next((layers[scope] for scope in cost.name.split("/") if scope in layers), None)
        if part is None:
            raise CostError(f"{cost.name}: this product is not in any of {', '.join(PARTS)}")
        sums[part][KINDS[cost.kind]] += cost.multiply_adds
    unpublished = sums["pixel_encoder"]["depthwise_convolutions"] if isinstance(model.pixel_encoder, ConvNeXt) else 0
    return ModelCost(
        {part: _num_parameters(getattr(model, part)) for part in PARTS},
        {part: dict(kinds) for part, kinds in sums.items() if kinds},
        unpublished,
    )


def _results(model: KMaXDeepLab, images: tf.Tensor) -> list[tf.Tensor]:
    outputs = model(images, training=False, any_size=True)
    return [outputs[name] for name in RESULTS]


def _num_parameters(layer: tf.Module) -> int:
    return sum(math.prod(variable.shape) for variable in layer.trainable_variables)
